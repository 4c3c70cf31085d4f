"""Texts of messages: parsed from HTML, Markdown or MarkdownV2 into plain text and entities, as TDLib does.

entities.py is the entry; html.py, markdown.py and markdown_v2.py are the three parsers, parts.py what they share.
"""
