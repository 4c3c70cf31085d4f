"""The whole examination, from the settings to Telegram, printed line by line."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import typer
from rich.console import Console

from bot import logs
from bot.console.doctor.checks import Check, Level, failure
from bot.console.doctor.machine import (
    look_at_catalog,
    look_at_desk,
    look_at_disk,
    look_at_env_file,
    look_at_network,
    look_at_settings,
)
from bot.console.doctor.records import look_at_database
from bot.settings import Settings, SettingsError
from db.clock import utc_now

_WIDTH = 8


async def examine(console: Console, env_file: Path, *, removes_webhook: bool, can_ask: bool) -> bool:
    """Print a line for each thing that was looked at, with the mend below it; False when there was a failure.

    A webhook is removed with `removes_webhook`, or when `can_ask` and the person says so.
    """
    counts: Counter[Level] = Counter()
    async for check in _checks(env_file, removes_webhook=removes_webhook, can_ask=can_ask):
        counts[check.level] += 1
        console.print(f"{check.level:{_WIDTH}} {check.subject}: {check.words}")
        if check.mend:
            console.print(f"{'':{_WIDTH}} mend: {check.mend}")
    console.print(f"{counts[Level.FAILURE]} failures, {counts[Level.WARNING]} warnings.")
    return not counts[Level.FAILURE]


async def _checks(env_file: Path, *, removes_webhook: bool, can_ask: bool) -> AsyncIterator[Check]:
    yield look_at_env_file(env_file)
    try:
        settings = Settings.load(env_file)
    except SettingsError as error:
        yield failure("settings", str(error), ".env.example explains every one; nothing else can be looked at")
        return
    logs.configure("CRITICAL", settings.log_format, settings.secrets())
    for check in look_at_settings(settings):
        yield check
    catalog, check = look_at_catalog(settings)
    yield check
    for check in look_at_disk(settings):
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

    async for check in look_at_telegram(settings, utc_now, ask):
        yield check
    if settings.stripe_secret_key is not None:
        from bot.console.doctor.stripe import look_at_stripe  # noqa: PLC0415 - imports stripe

        yield await look_at_stripe(settings, settings.stripe_secret_key.get_secret_value(), int(utc_now().timestamp()))
