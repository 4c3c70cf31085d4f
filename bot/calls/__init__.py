"""Calls to Telegram: how they leave this machine, how long they are repeated, and what their answers tell of time."""
