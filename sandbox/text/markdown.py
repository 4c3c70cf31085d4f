"""The parser of the older Markdown, which does not nest, as in TDLib's parse_markdown (MessageEntity.cpp)."""

import re

from sandbox.shapes import Json
from sandbox.text.parts import Draft, byte_offset, link_to, refusal

_ESCAPED = re.compile(r"\\([_*`\[])")
_PLAIN = re.compile(r"[^\\_*`\[]+|\\")
_URL = re.compile(r"\(([^)]*)\)?")
FENCE = "```"
FENCE_BEGIN = re.compile(r"```(?:([^\s`]+)(?=\s))?(?:\r\n|\n\r|\r|\n)?")
"""The begin of a code block: its language, and the one line break that is not part of it."""


def parse_markdown(source: str) -> tuple[str, list[Json]]:
    """Parse Markdown into plain text and its MessageEntity objects.

    Raises ApiError `can't parse entities: ...` for an open entity.
    """
    draft = Draft()
    at = 0
    while at < len(source):
        if (escaped := _ESCAPED.match(source, at)) is not None:
            draft.add(escaped.group(1))
            at = escaped.end()
        elif (plain := _PLAIN.match(source, at)) is not None:
            draft.add(plain.group())
            at = plain.end()
        else:
            at = _read_marked(source, at, draft)
    return draft.finished()


def _read_marked(source: str, at: int, draft: Draft) -> int:
    """Read a Markdown entity from its special character to behind its end."""
    mark = source[at]
    entity: Json | None
    match mark:
        case "`" if (fence := FENCE_BEGIN.match(source, at)) is not None:
            begin, mark = fence.end(), FENCE
            entity = code_block(fence.group(1))
        case "[":
            begin, mark = at + 1, "]"
            entity = None
        case _:
            begin = at + 1
            entity = {"type": {"_": "italic", "*": "bold", "`": "code"}[mark]}
    end = source.find(mark, begin)
    if end < 0:
        raise refusal(f"Can't find end of the entity starting at byte offset {byte_offset(source, at)}")
    text, after, begin_offset = source[begin:end], end + len(mark), draft.offset
    draft.add(text)
    if mark == "]":
        url = _URL.match(source, after)
        entity = link_to(url.group(1) if url is not None else text)
        after = url.end() if url is not None else after
    if entity is not None and text:
        draft.mark(entity, begin_offset)
    return after


def code_block(language: str | None) -> Json:
    """Return the entity of a code block."""
    return {"type": "pre", "language": language} if language else {"type": "pre"}
