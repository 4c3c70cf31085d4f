"""The chat: facts of payments come in, texts and buttons in the reader's language go out.

Three modules open their own transactions on the few rows that belong to the chat: names.py, moved_chats.py,
refused_invoices.py. The handlers and the front door have all others.

In reading order:

- words.py, money.py: texts by key in a reader's language, and amounts
- talk.py: messages into a chat or a topic, and edits of a message with buttons
- storefront.py: invoices for the plans on sale
- refused_invoices.py: the alert to the admins about an invoice that Telegram refuses
- subscriptions.py: a subscription in /status, with its buttons
- history_pages.py: /history as pages
- commands.py, bot_name.py: the menus of commands, and commands that name the bot's @username
- names.py: the @usernames of users on record
- moved_chats.py: the admins' group after it became a supergroup
"""
