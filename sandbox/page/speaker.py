"""Who writes and pays in a pane, and where."""

from dataclasses import dataclass


@dataclass(slots=True)
class Speaker:
    """A person in a chat. In a private chat both ids are the same; a group's pane changes who it is.

    `anonymous`: an administrator who speaks in the group's name.
    """

    user_id: int
    chat_id: int
    anonymous: bool = False
