"""What the desk shows of itself to a monitor and to systemd; nothing that sells depends on it."""
