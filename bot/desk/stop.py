"""How the desk is told to stop, and that it ends in time."""

import asyncio
import os
import signal
from typing import Final

from loguru import logger

END_SECONDS: Final = 9
"""When whatever still hangs is left to the next start: the desk ends within ten seconds of SIGTERM."""


def stop_signal() -> asyncio.Event:
    """Return what SIGTERM or SIGINT sets; a second one, or END_SECONDS after the first, ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    # What is not finished is on record, and the next start goes on with it.
    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()
        loop.call_later(END_SECONDS, give_up)

    def give_up() -> None:
        logger.warning("stopped with something unfinished after {} s", END_SECONDS)
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop
