"""Settlement: brings one audit row to its effect, in one transaction."""
