"""Access: grants and what they add up to. Knows no payments."""
