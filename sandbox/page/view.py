"""What every part of the page that follows the sandbox has in common."""

from typing import Protocol

from sandbox.shapes import Json


class View(Protocol):
    """A part of the page that follows the sandbox."""

    async def refresh(self) -> None:
        """Read everything anew."""

    async def update(self, events: list[Json]) -> None:
        """Read anew what the events touch."""
