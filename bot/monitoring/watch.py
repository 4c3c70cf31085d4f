"""Looks once a second at how the desk is, and tells systemd: ready, how it is, and that it lives.

A sign of life is given only while the poll loop and the worker beat: a desk that hangs is started anew.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from loguru import logger

from bot.monitoring.health import Health, State
from bot.monitoring.systemd import Notifier
from payments.pulse import Pulse

LOOK_SECONDS: Final = 1


async def watch(health: Health, pulses: Sequence[Pulse], notifier: Notifier) -> None:
    """Look until cancelled; `pulses` may grow meanwhile."""
    is_ready = False
    was_alive = True
    told = ""
    while True:
        state = health.look()
        # One that waits knowingly, for Telegram, a database or another desk, is up: it goes on by itself.
        if not is_ready and (state is not State.STARTING or health.troubles):
            notifier.tell("READY=1")
            is_ready = True
        status = _in_words(health, state)
        if status != told:
            notifier.tell(f"STATUS={status}")
            told = status
        is_alive = all(pulse.is_alive for pulse in pulses)
        if is_alive:
            notifier.tell("WATCHDOG=1")
        elif was_alive:
            logger.error("the poll loop or the worker hangs: systemd's watchdog ends this process")
        was_alive = is_alive
        await asyncio.sleep(LOOK_SECONDS)


def _in_words(health: Health, state: State) -> str:
    troubles = "; ".join(f"{part}: {trouble.why}" for part, trouble in health.troubles.items())
    return ", ".join(filter(None, [state.value.replace("_", " "), troubles]))
