"""The stop of a desk: SIGTERM and SIGINT set an event, and end the process if the stop takes too long."""

import asyncio
import os
import signal

from loguru import logger


def stop_signal(end_seconds: float) -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets; a second signal, or `end_seconds`, ends the process."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    # Unfinished work is on record, and the next start goes on with it.
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
