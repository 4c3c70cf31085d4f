"""How fast the desk is, on both engines: `make bench` prints a table. `make test` leaves it out."""
