"""A message's text on the page with its entities (Bot API, MessageEntity), built from elements, never from markup."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from nicegui import ui

from sandbox.page.elements import copies_on_click, line
from sandbox.page.hands import Hands
from sandbox.shapes import Json

_ADDRESS = re.compile(r"(?:https?://|tg:|mailto:|tel:)", re.IGNORECASE)
_STYLED = {"bold", "italic", "underline", "strikethrough", "spoiler", "code", "pre", "blockquote"}
_LOOKS = {"expandable_blockquote": "blockquote"} | {style: style for style in _STYLED}
_BLOCKS = {"pre", "blockquote", "expandable_blockquote"}
_COPIED = {"code", "pre"}
_LONG = 30


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a message's text under the same entities."""

    text: str
    entities: tuple[Json, ...]


def pieces(text: str, entities: Sequence[Json]) -> list[Piece]:
    """Split a message's text where an entity begins or ends; their offsets and lengths count UTF-16 units.

    A lone surrogate becomes U+FFFD, because the page can send that to a browser.
    """
    units = text.encode("utf-16-le", "surrogatepass")
    length = len(units) // 2
    edges = {0, length}
    for entity in entities:
        edges |= {entity["offset"], entity["offset"] + entity["length"]}
    cuts = sorted(edge for edge in edges if 0 <= edge <= length)
    return [
        Piece(units[2 * start : 2 * end].decode("utf-16-le", "replace"), _covering(entities, start, end))
        for start, end in pairwise(cuts)
    ]


def show_text(text: str, entities: Sequence[Json], hands: Hands) -> None:
    """Show a message's text on the page with its links.

    Commands and links into the bot act, code copies on a click, other links open in a tab.
    """
    after_block = False
    for piece in pieces(text, entities):
        # A block ends its line by itself.
        shown = piece.text.removeprefix("\n") if after_block else piece.text
        if shown:
            _show(Piece(shown, piece.entities), hands)
        after_block = any(entity["type"] in _BLOCKS for entity in piece.entities)


def _covering(entities: Sequence[Json], start: int, end: int) -> tuple[Json, ...]:
    return tuple(one for one in entities if one["offset"] <= start and one["offset"] + one["length"] >= end)


def _show(piece: Piece, hands: Hands) -> None:
    kinds = {entity["type"] for entity in piece.entities}
    address = next((found for entity in piece.entities if (found := _address(entity, piece.text))), None)
    if address is not None and not hands.is_within(address):
        shown: ui.element = ui.link(piece.text, address, new_tab=True).classes("run link")
    else:
        shown = line(piece.text, "run")
    for kind in kinds & _LOOKS.keys():
        shown.classes(f"is-{_LOOKS[kind]}")
    if kinds & _COPIED:
        if len(piece.text) >= _LONG:
            shown.classes("is-long")
        copies_on_click(shown, hands.copied)
    elif "bot_command" in kinds:
        shown.classes("link").on("click", lambda: hands.send(piece.text), args=[])
    elif address is not None and hands.is_within(address):
        shown.classes("link").on("click", lambda: hands.open_address(address), args=[])


def _address(entity: Json, text: str) -> str | None:
    """Return the address that an entity links to, if its scheme runs no script."""
    match entity["type"]:
        case "text_link":
            address = str(entity["url"])
        case "url":
            address = text
        case "email":
            address = f"mailto:{text}"
        case _:
            return None
    if not _ADDRESS.match(address):
        address = f"https://{address}"
    return address
