"""Monitoring: health, metrics, logs and systemd's watchdog; no sale depends on it."""
