"""The chat page of a sandbox: several people's Telegram beside each other, and Telegram's other side.

The page needs NiceGUI (the extra `page` of starledger-sandbox), speaks to the sandbox through `SandboxClient` alone,
and serves every asset itself. It shows words of users and bots as text, never as markup. In reading order:

- serving.py, layout.py: serve the page, and build it for a browser tab
- chats.py, pane.py, person_pane.py, group_pane.py: the panes, one for each chat
- bubbles.py, rich_text.py, keyed_rows.py: messages in a pane
- composer.py, hands.py, speaker.py: writing and pressing
- sheet.py, card_sheet.py, my_stars.py, veil.py: sheets over a pane
- newcomer.py, elements.py, view.py: new chats, and building blocks
- backstage/: Telegram's other side
"""
