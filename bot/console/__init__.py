"""What the operator's commands do and print, a file for each subject.

None of it imports aiogram but what speaks to Telegram: its import alone takes seconds.
"""
