"""Text in messages: what Telegram reads in it, and the three markups that bots write."""
