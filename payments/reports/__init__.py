"""What the payments add up to over time: of all channels, in each currency by itself."""
