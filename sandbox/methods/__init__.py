"""The Bot API's methods, each a function of the world and the call's arguments."""

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
