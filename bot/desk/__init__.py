"""The composition root: it wires the desk from the settings, starts it, runs it and stops it."""
