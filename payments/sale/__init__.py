"""What is sold to whom: the catalog, the signed payload, and the terms that were ever offered."""
