"""The examination of `doctor`, from the settings to Telegram and Stripe, printed line by line."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import typer
from rich.console import Console

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
from bot.monitoring import logs
from bot.monitoring.logs import HIDDEN, Hide, escaped, hider
from bot.settings import Settings, SettingsError
from db.clock import utc_now
from payments.sale.catalog import Catalog

_WIDTH: Final = 8
_WORDS_MAX: Final = 300
_NETWORK: Final = "network"
_COULD_BE_A_SECRET: Final = re.compile(
    r"\b\d{1,16}:(?:(?:TEST|LIVE):\S+|[A-Za-z0-9_-]{20,})|\b[sr]k_(?:test|live)_\w+", re.ASCII
)
"""The form of a bot's token, of a payment provider's token, or of a key of Stripe's."""

_Plans = Catalog | None
_Look = Callable[[], Iterable[Check] | AsyncIterator[Check] | Awaitable[Check]]


async def examine(console: Console, env_file: Path, *, removes_webhook: bool, can_ask: bool) -> bool:
    """Print a line for each check, with the mend below it; False: there was a failure.

    It removes a webhook with `removes_webhook`, or if the person says so where `can_ask`.
    """
    counts: Counter[Level] = Counter()
    hide = hider(())
    async for check in _checks(env_file, removes_webhook=removes_webhook, can_ask=can_ask):
        counts[check.level] += 1
        if check.subject == SETTINGS:
            # The lines hide the settings' secrets once Settings can read them, whatever this check found.
            with suppress(SettingsError):
                hide = hider(Settings.load(env_file).secrets())
        console.print(_safe(f"{check.level:{_WIDTH}} {check.subject}: {check.words}", hide))
        if check.mend:
            console.print(_safe(f"{'':{_WIDTH}} mend: {check.mend}", hide))
    console.print(f"{counts[Level.FAILURE]} failures, {counts[Level.WARNING]} warnings.")
    return not counts[Level.FAILURE]


def _safe(line: str, hide: Hide) -> str:
    """Hide every secret in a line, and all that looks like one.

    The settings alone do not name all secrets, because a value may be in the wrong setting.
    """
    return escaped(_COULD_BE_A_SECRET.sub(HIDDEN, hide(line)))


async def _checks(env_file: Path, *, removes_webhook: bool, can_ask: bool) -> AsyncIterator[Check]:
    async for check in _looked(str(env_file), lambda: [look_at_env_file(env_file)], hider(())):
        yield check
    try:
        settings = Settings.load(env_file)
    except SettingsError as error:
        yield failure(SETTINGS, str(error), ".env.example explains every one; nothing else can be looked at")
        return
    hide = hider(settings.secrets())
    logs.configure("CRITICAL", settings.log_format, settings.secrets())

    def ask(question: str) -> bool:
        return removes_webhook or (can_ask and typer.confirm(question))

    for subject, look in _sections(settings, ask):
        async for check in _looked(subject, look, hide):
            yield check
            if subject == _NETWORK and check.level is Level.FAILURE:
                return


def _sections(settings: Settings, ask: Callable[[str], bool]) -> Iterator[tuple[str, _Look]]:
    """Yield the checks in order, each with the subject that names it when it raises."""
    catalog: _Plans = None

    def look_at_plans() -> Iterator[Check]:
        nonlocal catalog
        catalog, check = look_at_catalog(settings)
        yield check

    yield SETTINGS, lambda: look_at_settings(settings)
    yield "catalog", look_at_plans
    yield "disk", lambda: look_at_disk(settings)
    yield "files", lambda: look_at_files(settings)
    yield "database", lambda: look_at_database(settings, catalog)
    yield "desk", lambda: look_at_desk(settings)
    yield _NETWORK, lambda: look_at_network(settings)
    yield "telegram", lambda: _look_at_telegram(settings, ask, catalog)
    key = settings.stripe_secret_key
    if key is not None:
        yield "stripe", lambda: _look_at_stripe(settings, key.get_secret_value())


def _look_at_telegram(settings: Settings, ask: Callable[[str], bool], catalog: _Plans) -> AsyncIterator[Check]:
    from bot.console.doctor.telegram import look_at_telegram  # noqa: PLC0415 - imports aiogram

    return look_at_telegram(settings, utc_now, ask, catalog)


def _look_at_stripe(settings: Settings, key: str) -> Awaitable[Check]:
    from bot.console.doctor.stripe import look_at_stripe  # noqa: PLC0415 - imports stripe

    return look_at_stripe(settings, key, int(utc_now().timestamp()))


async def _looked(subject: str, look: _Look, hide: Callable[[str], str]) -> AsyncIterator[Check]:
    """Yield the results of a check; a check that raises yields a failure, and the next ones run."""
    try:
        found = look()
        if isinstance(found, AsyncIterator):
            async for check in found:
                yield check
        elif isinstance(found, Awaitable):
            yield await found
        else:
            for check in found:
                yield check
    except typer.Abort:
        raise
    except Exception as error:  # noqa: BLE001 - doctor is asked when something is wrong that nobody has thought of
        said = hide(f"{type(error).__name__}: {error}".partition("\n")[0])[:_WORDS_MAX]
        yield failure(subject, f"could not be looked at: {said}", "if the words do not say it, report this as a bug")
