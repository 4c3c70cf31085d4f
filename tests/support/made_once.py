"""Objects that aiogram makes anew for each session and answer, made once a process: import it for that.

It reads all certificates for each session, and no test's Telegram has one. pydantic forgets a generic type that nobody
holds on to, and aiogram asks for the type of each answer.
"""

import ssl
from functools import cache
from typing import Final

from aiogram.methods import TelegramMethod
from aiogram.methods.base import Response

import bot.poll.intake  # noqa: F401 - has a method of its own

ssl.create_default_context = cache(ssl.create_default_context)  # type: ignore[assignment]  # a cached function is one
ANSWERS: Final = [
    Response[method.__returning__]  # type: ignore[name-defined]  # a type that is known at run time
    for returning in TelegramMethod.__subclasses__()
    for method in returning.__subclasses__()
]
