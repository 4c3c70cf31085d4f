"""How the desk is told to stop, and that it ends in time."""

import asyncio
import os
import signal

from loguru import logger


def stop_signal(end_seconds: float) -> asyncio.Event:
    """Return what SIGTERM or SIGINT sets; a second one, or `end_seconds` after the first, ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    # What is not finished is on record, and the next start goes on with it.
    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()
        loop.call_later(end_seconds, give_up)

    def give_up() -> None:
        logger.warning("stopped with something unfinished after {} s", end_seconds)
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop
