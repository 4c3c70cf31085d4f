"""The veil of a pane: a sheet comes up from below and covers the chat until the person closes it."""

from nicegui import ui

from sandbox.page.elements import box, icon_button


class Veil:
    """A pane's cover, with at most one sheet on it."""

    def __init__(self, cover: ui.element) -> None:
        self._cover = cover
        self._veil: ui.element | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether a sheet covers the pane."""
        return self._veil is not None

    def opened(self, told: str) -> ui.element:
        """Open a new sheet over the pane in place of the present one; yield its body.

        `told` is its name for screen readers.
        """
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
        """Close the sheet over the pane."""
        if self._veil is not None:
            self._veil.delete()
            self._veil = None
