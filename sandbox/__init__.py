"""Telegram in a box: a Bot API server with Stars, and a chat page. Imports nothing of the desk."""
