"""The command `doctor`: checks everything that a desk needs, and says what is wrong and how to mend it."""
