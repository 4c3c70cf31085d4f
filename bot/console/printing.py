"""How the operator's commands print."""

from datetime import datetime
from typing import Final

from rich.console import Console

# A charge id is longer than a line, and one that is broken in two cannot be copied.
CONSOLE: Final = Console(soft_wrap=True, highlight=False, markup=False)


def minute(moment: datetime | None) -> str:
    """Return an aware moment in UTC to the minute; nothing for None."""
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""
