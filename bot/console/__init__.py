"""The operator's commands: what each does and prints, a file for each subject.

Only commands that speak to Telegram import aiogram, because its import takes seconds.
"""
