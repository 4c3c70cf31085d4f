"""The log: renders every line as text or JSON, and takes the secrets out of it.

Our code logs with loguru: `logger.bind(user_id=..., charge_id=...).info("...")`; the bound values stand in the line, in
either format. A `user_id` is one of `users.id`, a `telegram_id` is Telegram's. The libraries' own `logging`, and
warnings, take the same way.
"""

import json
import logging
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC
from typing import TYPE_CHECKING, Final, Literal, TextIO
from urllib.parse import quote

from loguru import logger

from bot.monitoring.systemd import is_journal, prioritised

if TYPE_CHECKING:
    from loguru import Message, Record

HIDDEN: Final = "***"
_AFTER_COLON: Final = r"(?<=\d:)[A-Za-z0-9_-]{30,}"
"""The form of a bot token past its colon, because a token outside of our settings is a secret too."""
_BREAKS_A_LINE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of controls, direction marks, surrogates, and breaks of lines and paragraphs."""
_NEEDS_QUOTES: Final = re.compile(r"[\s\"=]|^$")
_STANDARD_LEVELS: Final = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})

Hide = Callable[[str], str]
"""Takes the secrets out of a text."""


def configure(
    level: str, style: Literal["text", "json"], secrets: Iterable[str] = (), stream: TextIO | None = None
) -> None:
    """Send the log from `level` up to `stream` (None: stderr), as text for people or flat JSON, an object a line.

    No line holds one of `secrets`: not in its message, a bound value, or a traceback. Libraries log from WARNING up,
    and at the level DEBUG from INFO up.
    """
    render = _as_json if style == "json" else _as_text
    hide = hider(secrets)
    target = stream or sys.stderr
    in_journal = is_journal(target)

    def write(message: "Message") -> None:
        # The format below leaves only the traceback in the message.
        line = render(message.record, hide(message.strip()), hide)
        target.write((prioritised(line, message.record["level"].no) if in_journal else line) + "\n")
        target.flush()

    logger.remove()
    # loguru's `diagnose` would print the value of every variable on the way, the token among them.
    logger.add(write, level=level, format=lambda _: "{exception}", diagnose=False, backtrace=False)
    library_level = logging.INFO if level == "DEBUG" else max(logging.WARNING, logger.level(level).no)
    logging.basicConfig(handlers=[_ToLoguru()], level=library_level, force=True)
    # stamina logs each retry without its subject; our own line names it once.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)


class _ToLoguru(logging.Handler):
    """Hands the libraries' records to loguru, under the name of their logger."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname if record.levelname in _STANDARD_LEVELS else record.levelno
        named = logger.patch(lambda line: line.update({"name": record.name}))
        named.opt(exception=record.exc_info).log(level, "{}", record.getMessage().rstrip())


def hider(secrets: Iterable[str]) -> Hide:
    """Make a function that takes `secrets`, in each of their forms, and anything like a token out of a text."""
    forms = {form for secret in secrets for form in (secret, quote(secret, safe=""), repr(secret)[1:-1])}
    # The longest first, because one secret may begin with another.
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    pattern = re.compile("|".join([*map(re.escape, longest_first), _AFTER_COLON]))
    return lambda text: pattern.sub(HIDDEN, text)


def _as_text(record: "Record", traceback: str, hide: Hide) -> str:
    time = record["time"].astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    bound = "".join(
        f"  {key}={_quoted(hide(str(value)))}" for key, value in record["extra"].items() if value is not None
    )
    line = escaped(f"{time}Z {record['level'].name:<8} {record['name']}: {hide(record['message'])}{bound}")
    # The lines of a traceback are indented, because an error may quote a text like a line of the log.
    return "\n".join([line, *(f"    {escaped(each)}" for each in traceback.split("\n"))]) if traceback else line


def escaped(text: str) -> str:
    """Return a text as one line of the log, with its line breaks and its orders to a terminal escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(each) if unicodedata.category(each) in _BREAKS_A_LINE else each for each in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _quoted(value: str) -> str:
    return json.dumps(value) if _NEEDS_QUOTES.search(value) else value


def _as_json(record: "Record", traceback: str, hide: Hide) -> str:
    facts = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record["level"].name,
        "logger": record["name"],
        "message": hide(record["message"]),
    }
    bound = {key: _plain(value, hide) for key, value in record["extra"].items()}
    line = facts | bound | facts
    if traceback:
        line["exception"] = traceback
    return json.dumps(line)


def _plain(value: object, hide: Hide) -> object:
    return value if value is None or isinstance(value, bool | int | float) else hide(str(value))
