"""One recorded event brought to its effect, in one transaction."""
