"""The speaker of a pane: the person who writes and pays, and the chat."""

from dataclasses import dataclass


@dataclass(slots=True)
class Speaker:
    """A person in a chat. In a private chat both ids are the same; a group's pane changes its speaker.

    `anonymous`: an administrator who speaks in the group's name.
    """

    user_id: int
    chat_id: int
    anonymous: bool = False
