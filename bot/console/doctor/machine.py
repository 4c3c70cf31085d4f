"""Checks of this machine: settings file, catalog, disk, network, database files, running desk."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp

from bot.calls.network import in_the_clear, proxy_to_telegram, trusted
from bot.console.doctor.checks import Check, failure, ok, warning
from bot.monitoring.health import WELL
from bot.settings import Settings, SettingsError
from db.address import SqliteAddress, parse_database_url
from payments.sale.catalog import Catalog
from payments.sale.catalog_file import CatalogError, load_catalog

FREE_BYTES_LOW: Final = 1_000_000_000
FREE_BYTES_MIN: Final = 100_000_000
ANSWER_SECONDS: Final = 3

SETTINGS: Final = "settings"
"""The subject of the check of the settings."""

_OTHERS: Final = 0o007
_NOT_OWNER: Final = 0o077
_GROUP_WRITES: Final = 0o020


def look_at_env_file(file: Path) -> Check:
    """Check who can read the settings file."""
    subject = str(file)
    if not file.exists():
        return ok(subject, "there is none: every setting comes from the environment")
    mode = file.stat().st_mode
    if mode & _OTHERS:
        return failure(subject, "everybody on this machine can read it, and with it the token", f"chmod o= {file}")
    if mode & _GROUP_WRITES:
        return warning(subject, "its group can change it", f"chmod g-w {file}")
    return ok(subject, "is read by its owner and group alone")


def look_at_settings(settings: Settings) -> Iterator[Check]:
    """Check the settings for gaps that the desk allows, and that nobody may have meant."""
    yield ok(SETTINGS, "every one can be used")
    if not settings.admin_ids:
        mend = "send /paysupport to the bot, and put the id that it tells into ADMIN_IDS"
        yield warning("admins", "there is none: nobody can refund in the chat or is told of trouble", mend)
    if settings.support_contact is None:
        mend = "put a @name, an e-mail address or a link of yours into SUPPORT_CONTACT"
        yield warning("contact", "there is none: /paysupport does not say how buyers reach you", mend)


def look_at_catalog(settings: Settings) -> tuple[Catalog | None, Check]:
    """Check the catalog, and return it too; None: the desk cannot use it."""
    try:
        catalog = load_catalog(settings.catalog_file)
    except CatalogError as error:
        return None, failure("catalog", str(error), "mend the file, or put the path of another into CATALOG_FILE")
    retired = len(catalog.plans) - len(catalog.on_sale)
    if not catalog.on_sale:
        return catalog, warning("catalog", "nothing is on sale", f"write a plan into {settings.catalog_file}")
    return catalog, ok("catalog", f"{len(catalog.on_sale)} plans on sale, {retired} retired")


def look_at_disk(settings: Settings) -> Iterator[Check]:
    """Check the room on the disk for a database that is a file."""
    address = parse_database_url(settings.database_url.get_secret_value())
    if not isinstance(address, SqliteAddress):
        return
    place = address.path.absolute().parent
    while not place.exists():
        place = place.parent
    free_bytes = shutil.disk_usage(place).free
    words = f"{free_bytes // 1_000_000} MB are free at {place}"
    if free_bytes < FREE_BYTES_MIN:
        yield failure("disk", words, "make room: a full disk records no payment")
    elif free_bytes < FREE_BYTES_LOW:
        yield warning("disk", words, "make room before it is full")
    else:
        yield ok("disk", words)


def look_at_network(settings: Settings) -> Iterator[Check]:
    """Check the way to Telegram: the proxy, the trusted authorities, and who can read the token on the way."""
    try:
        proxy = proxy_to_telegram(settings)
        trusted()
    except SettingsError as error:
        yield failure("network", str(error), "mend the variable, or take it out of the environment")
        return
    exposed = in_the_clear(settings)
    if exposed is not None:
        yield warning("network", exposed, "put an address with https:// into TELEGRAM_API_URL")
    elif proxy is not None:
        yield ok("network", f"calls to Telegram go through {proxy}")


def look_at_files(settings: Settings) -> Iterator[Check]:
    """Check who can read a database that is a file, and the files beside it."""
    address = parse_database_url(settings.database_url.get_secret_value())
    if not isinstance(address, SqliteAddress):
        return
    file = address.path.absolute()
    # In a directory that nobody else may enter, the modes of the files do not matter.
    if not file.parent.exists() or not file.parent.stat().st_mode & _NOT_OWNER:
        return
    beside = [file, *(file.with_name(file.name + ending) for ending in ("-wal", "-shm", ".lock"))]
    open_ones = [str(each) for each in beside if each.exists() and each.stat().st_mode & _NOT_OWNER]
    if open_ones:
        words = f"others on this machine can read {', '.join(open_ones)}, and with it every payment"
        yield warning("files", words, f"chmod go= {' '.join(open_ones)}; chmod 700 {file.parent}")


async def look_at_desk(settings: Settings) -> Check:
    """Ask the running desk for its health."""
    if not settings.http_port:
        return ok("desk", "not asked: HTTP_PORT is 0")
    address = f"http://127.0.0.1:{settings.http_port}/healthz"
    try:
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(address) as answer:
            report = await answer.json()
            state, troubles = str(report["state"]), dict(report["troubles"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        mend = "start it (systemctl start starledger), or look at its log (journalctl -u starledger)"
        return failure("desk", f"does not answer at {address}: {type(error).__name__}", mend)
    if state in WELL:
        return ok("desk", state.replace("_", " "))
    said = "; ".join(f"{part} since {each['since']}: {each['why']}" for part, each in troubles.items())
    return failure(
        "desk", f"{state}: {said or 'it has not come to its first poll'}", "journalctl -u starledger says more"
    )
