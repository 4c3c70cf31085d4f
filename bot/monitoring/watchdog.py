"""The watchdog: reads the desk's health once a second, and tells systemd its readiness, its state and its sign of life.

The sign of life goes out only while each watched loop beats (the poll, the worker, the subscriptions), so that systemd
restarts a desk that hangs.
"""

import asyncio
from collections.abc import Mapping

from loguru import logger

from bot.monitoring.health import Health, HealthState
from bot.monitoring.systemd import Notifier
from payments.loop import Pulse


async def watch(health: Health, pulses: Mapping[str, Pulse], notifier: Notifier, look_seconds: float) -> None:
    """Feed systemd's watchdog until cancelled; `pulses`, by the names of their loops, may grow meanwhile."""
    is_ready = False
    was_alive = True
    told = ""
    while True:
        state = health.look()
        # A desk that notes its wait, for Telegram, a database or another desk, is up: it goes on by itself.
        if not is_ready and (state is not HealthState.STARTING or health.troubles):
            notifier.tell("READY=1")
            is_ready = True
        status = _in_words(health, state)
        if status != told:
            notifier.tell(f"STATUS={status}")
            told = status
        hanging = [name for name, pulse in pulses.items() if not pulse.is_alive]
        if not hanging:
            notifier.tell("WATCHDOG=1")
        elif was_alive:
            logger.error("loops hang, so that systemd's watchdog ends this process: {}", ", ".join(hanging))
        was_alive = not hanging
        await asyncio.sleep(look_seconds)


def _in_words(health: Health, state: HealthState) -> str:
    troubles = "; ".join(f"{part}: {trouble.why}" for part, trouble in health.troubles.items())
    return ", ".join(filter(None, [state.value.replace("_", " "), troubles]))
