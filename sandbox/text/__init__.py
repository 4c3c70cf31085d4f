"""Texts of messages: the parsers make plain text and entities of HTML, Markdown or MarkdownV2, as TDLib does.

entities.py is the entry; html.py, markdown.py and markdown_v2.py are the three parsers, parts.py what they share.
"""
