"""The whole examination, from the settings to Telegram, printed line by line."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import typer
from rich.console import Console

from bot import logs
from bot.console.doctor.checks import Check, Level, failure
from bot.console.doctor.machine import (
    SETTINGS,
    look_at_catalog,
    look_at_desk,
    look_at_disk,
    look_at_env_file,
    look_at_files,
    look_at_network,
    look_at_settings,
)
from bot.console.doctor.records import look_at_database
from bot.logs import HIDDEN, Hide, escaped, hider
from bot.settings import Settings, SettingsError
from db.clock import utc_now

_WIDTH = 8
_COULD_BE_A_SECRET: Final = re.compile(
    r"\b\d{1,16}:(?:(?:TEST|LIVE):\S+|[A-Za-z0-9_-]{20,})|\b[sr]k_(?:test|live)_\w+", re.ASCII
)
"""Whatever has the form of a bot's token, of a payment provider's, or of a key of Stripe's."""


async def examine(console: Console, env_file: Path, *, removes_webhook: bool, can_ask: bool) -> bool:
    """Print a line for each thing that was looked at, with the mend below it; False when there was a failure.

    A webhook is removed with `removes_webhook`, or when `can_ask` and the person says so.
    """
    counts: Counter[Level] = Counter()
    hide = hider(())
    async for check in _checks(env_file, removes_webhook=removes_webhook, can_ask=can_ask):
        counts[check.level] += 1
        if check.subject == SETTINGS and check.level is not Level.FAILURE:
            hide = hider(Settings.load(env_file).secrets())
        console.print(_safe(f"{check.level:{_WIDTH}} {check.subject}: {check.words}", hide))
        if check.mend:
            console.print(_safe(f"{'':{_WIDTH}} mend: {check.mend}", hide))
    console.print(f"{counts[Level.FAILURE]} failures, {counts[Level.WARNING]} warnings.")
    return not counts[Level.FAILURE]


def _safe(line: str, hide: Hide) -> str:
    """Take out of a line whatever is a secret or could be one: a value may stand in the wrong setting."""
    return escaped(_COULD_BE_A_SECRET.sub(HIDDEN, hide(line)))


async def _checks(env_file: Path, *, removes_webhook: bool, can_ask: bool) -> AsyncIterator[Check]:
    yield look_at_env_file(env_file)
    try:
        settings = Settings.load(env_file)
    except SettingsError as error:
        yield failure(SETTINGS, str(error), ".env.example explains every one; nothing else can be looked at")
        return
    logs.configure("CRITICAL", settings.log_format, settings.secrets())
    for check in look_at_settings(settings):
        yield check
    catalog, check = look_at_catalog(settings)
    yield check
    for check in (*look_at_disk(settings), *look_at_files(settings)):
        yield check
    async for check in look_at_database(settings, catalog):
        yield check
    yield await look_at_desk(settings)
    for check in look_at_network(settings):
        yield check
        if check.level is Level.FAILURE:
            return
    from bot.console.doctor.telegram import look_at_telegram  # noqa: PLC0415 - imports aiogram

    def ask(question: str) -> bool:
        return removes_webhook or (can_ask and typer.confirm(question))

    async for check in look_at_telegram(settings, utc_now, ask, catalog):
        yield check
    if settings.stripe_secret_key is not None:
        from bot.console.doctor.stripe import look_at_stripe  # noqa: PLC0415 - imports stripe

        yield await look_at_stripe(settings, settings.stripe_secret_key.get_secret_value(), int(utc_now().timestamp()))
