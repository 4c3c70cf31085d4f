"""A list on the page with keyed rows: only rows that changed are built again."""

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from nicegui import ui

from sandbox.page.elements import box

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class KeyedRows(Generic[Key, Value]):
    """The keyed rows of a container; `build` fills a row in the present container."""

    def __init__(self, container: ui.element, build: Callable[[Value], None]) -> None:
        self._container = container
        self._build = build
        self._rows: dict[Key, tuple[Value, ui.element]] = {}

    def show(self, wanted: Mapping[Key, Value]) -> None:
        """Make the rows equal to `wanted`; new keys come at the end."""
        for key in self._rows.keys() - wanted.keys():
            self._rows.pop(key)[1].delete()
        for key, value in wanted.items():
            before = self._rows.get(key)
            if before is not None and before[0] == value:
                continue
            row = before[1] if before is not None else self._new_row()
            row.clear()
            with row:
                self._build(value)
            self._rows[key] = value, row

    def _new_row(self) -> ui.element:
        with self._container:
            return box("item")
