"""The base of all parts of the page that follow the sandbox."""

from typing import Protocol

from sandbox.shapes import Json


class View(Protocol):
    """A part of the page that follows the sandbox."""

    async def refresh(self) -> None:
        """Refresh this part of the page."""

    async def update(self, events: list[Json]) -> None:
        """Update this part of the page as far as the events touch it."""
