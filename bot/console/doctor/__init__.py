"""`doctor`: looks at everything that a desk needs, and says of each what is wrong and how it is mended."""
