"""The Bot API's methods, each a function of the sandbox's world and the call's arguments.

account.py is about the bot itself, chat.py about messages that exist, sending.py about new ones, money.py about Stars.
"""

from collections.abc import Callable
from typing import Any

from sandbox.args import Args
from sandbox.methods import account, chat, money, sending
from sandbox.world import World

Method = Callable[[World, Args], Any]

METHODS: dict[str, Method] = {
    name.lower(): method
    for table in (account.METHODS, chat.METHODS, money.METHODS, sending.METHODS)
    for name, method in table.items()
}
