"""What comes up from below and covers a chat until it is closed."""

from nicegui import ui

from sandbox.page.elements import box, icon_button


class Veil:
    """A pane's cover, with at most one sheet on it."""

    def __init__(self, cover: ui.element) -> None:
        self._cover = cover
        self._veil: ui.element | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether a sheet is there."""
        return self._veil is not None

    def opened(self, told: str) -> ui.element:
        """Put a new sheet in place of what is there; gives its body. `told` is its name for who cannot see it."""
        self.close()
        with self._cover:
            self._veil = box("veil")
        with self._veil:
            body = box("sheet").props("role=dialog")
            body.props["aria-label"] = told
        with body:
            icon_button("close", "Close", self.close, "sheet-close")
        return body

    def close(self) -> None:
        """Take the sheet away."""
        if self._veil is not None:
            self._veil.delete()
            self._veil = None
