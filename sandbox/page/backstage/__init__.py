"""Telegram's other side on the page, which a person in a chat does not see: a card for each subject.

stage.py is the tab as a whole, cards.py the building blocks; the others are named after their card.
"""
