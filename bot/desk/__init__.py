"""The composition root of the daemon, and its life from start to stop."""
