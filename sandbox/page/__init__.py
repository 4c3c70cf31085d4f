"""The chat page of a sandbox: several people's Telegram beside each other, and Telegram's other side.

The page needs NiceGUI (the extra `page` of starledger-sandbox), speaks to the sandbox through `SandboxClient` alone,
and serves every asset itself. It shows words of users and bots as text: none of them ever becomes markup.
"""
