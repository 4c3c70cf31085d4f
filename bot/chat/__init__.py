"""What the chat says and shows."""
