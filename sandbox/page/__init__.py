"""The chat page of a sandbox: several people's Telegram beside each other, and Telegram's other side.

It needs the `sandbox` extra (NiceGUI), speaks to the sandbox through `SandboxClient` alone, and serves every asset
itself. What users and bots write is shown as text: nothing of it ever becomes markup.
"""
