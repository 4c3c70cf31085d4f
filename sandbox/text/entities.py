"""Entities of a message's text: commands, mentions and links that Telegram finds, and the text argument of a call."""

import json
import re

from sandbox.args import Args
from sandbox.errors import bad_request
from sandbox.shapes import Json
from sandbox.text.html import parse_html
from sandbox.text.markdown import parse_markdown
from sandbox.text.markdown_v2 import parse_markdown_v2
from sandbox.text.parts import utf16_length

TEXT_LENGTH_MAX = 4096
CAPTION_LENGTH_MAX = 1024
SOURCE_BYTES_MAX = 1 << 15

_FOUND = re.compile(
    r"(?P<url>\bhttps?://[^\s<>\"]+[^\s<>\".,;:!?)])"
    r"|(?P<bot_command>(?<![\w/<>])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?(?![\w/]))"
    r"|(?P<mention>(?<![\w/@])@[A-Za-z0-9_]{3,32}\b)",
    re.ASCII,
)
_MARKUPS = {"html": parse_html, "markdown": parse_markdown, "markdownv2": parse_markdown_v2}
_UNSEARCHED = frozenset({"code", "pre", "text_link", "text_mention"})


def find_entities(text: str) -> list[Json]:
    """Return the MessageEntity objects that Telegram finds in a text without markup."""
    return [
        {
            "type": found.lastgroup,
            "offset": utf16_length(text[: found.start()]),
            "length": utf16_length(found.group()),
        }
        for found in _FOUND.finditer(text)
    ]


def read_formatted(args: Args, name: str, length_max: int) -> tuple[str, list[Json]]:
    """Read a text argument with its parse_mode and entities (Client.cpp, get_formatted_text).

    Returns the plain text, trimmed, and all entities by offset. Raises ApiError for markup that does not parse, an
    unknown parse mode, an empty or a too long text.
    """
    text = args.text(name)
    mode = args.text("parse_mode").lower()
    if not _is_utf8(text):
        raise bad_request("Text must be encoded in UTF-8")
    if len(text.encode()) > SOURCE_BYTES_MAX:
        raise bad_request("Text is too long")
    if mode in _MARKUPS:
        text, entities = _MARKUPS[mode](text)
    elif mode not in ("", "none"):
        raise bad_request("Unsupported parse_mode")
    else:
        entities = _read_entities(args, "entities" if name == "text" else f"{name}_entities")
    text, entities = _trim(text, entities)
    if utf16_length(text) > length_max:
        raise bad_request("Message is too long" if name == "text" else "Message caption is too long")
    return text, merge_found(text, entities)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_entities(args: Args, name: str) -> list[Json]:
    """Read MessageEntity objects; anything but a JSON array counts as none (Client.cpp, get_input_entities)."""
    try:
        entities = json.loads(args.text(name))
    except ValueError:
        return []
    if not isinstance(entities, list):
        return []
    for entity in entities:
        if not isinstance(entity, dict):
            raise bad_request("Can't parse MessageEntity: expected an Object")
        for field, kind in (("type", str), ("offset", int), ("length", int)):
            if not isinstance(entity.get(field), kind):
                raise bad_request(f"Can't parse MessageEntity: Can't find field \"{field}\"")
    return entities


def merge_found(text: str, entities: list[Json]) -> list[Json]:
    """Add the entities that Telegram finds in the text, outside of code and links."""
    closed = [
        range(entity["offset"], entity["offset"] + entity["length"])
        for entity in entities
        if entity["type"] in _UNSEARCHED
    ]
    found = [entity for entity in find_entities(text) if not any(entity["offset"] in span for span in closed)]
    return sorted([*entities, *found], key=lambda entity: (entity["offset"], -entity["length"]))


def _trim(text: str, entities: list[Json]) -> tuple[str, list[Json]]:
    """Trim white space off both ends of the text, and off the entities."""
    kept = text.strip()
    shift = utf16_length(text[: len(text) - len(text.lstrip())])
    end = utf16_length(kept)
    cut = []
    for entity in entities:
        begin = max(entity["offset"] - shift, 0)
        length = min(entity["offset"] - shift + entity["length"], end) - begin
        if length > 0:
            cut.append({**entity, "offset": begin, "length": length})
    return kept, cut
