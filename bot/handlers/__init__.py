"""The handlers of Telegram's updates, one router for each subject, with the middlewares before them; they write no SQL.

The routers hold no state; the middlewares of rate_limit.py and places.py remember senders and groups, within bounds.
"""
