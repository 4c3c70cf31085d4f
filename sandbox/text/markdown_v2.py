"""The parser of MarkdownV2, with each character that a bot must escape, as in TDLib's parse_markdown_v2."""

import re
from dataclasses import dataclass, field

from sandbox.shapes import Json
from sandbox.text.markdown import FENCE, FENCE_BEGIN, code_block
from sandbox.text.parts import Draft, byte_offset, custom_emoji, link_to, refusal

_RESERVED = frozenset("_*[]()~`>#+-=|{}.!\n")
_ESCAPED = re.compile(r"\\([\x01-\x7e])")
_URL = re.compile(r"\(((?:\\[\x01-\x7e]|[^)])*)(\)?)")
_EMOJI = re.compile(r"tg://emoji\?id=([0-9]+)")
_MARKS = {
    "__": "underline",
    "_": "italic",
    "*": "bold",
    "~": "strikethrough",
    "||": "spoiler",
    "![": "custom_emoji",
    "[": "text_link",
    "`": "code",
}
_ENDS = {kind: mark for mark, kind in _MARKS.items()} | {"text_link": "]", "custom_emoji": "]", "pre": FENCE}
# As TDLib calls them in its refusals.
_NAMES = {
    "underline": "Underline",
    "italic": "Italic",
    "bold": "Bold",
    "strikethrough": "Strikethrough",
    "spoiler": "Spoiler",
    "custom_emoji": "CustomEmoji",
    "text_link": "TextUrl",
    "code": "Code",
    "blockquote": "BlockQuote",
}


@dataclass(slots=True)
class _Open:
    entity: Json
    position: int
    offset: int
    text_begin: int

    @property
    def kind(self) -> str:
        kind: str = self.entity["type"]
        return kind

    @property
    def name(self) -> str:
        if self.kind == "pre":
            return "PreCode" if "language" in self.entity else "Pre"
        return _NAMES[self.kind]


def parse_markdown_v2(source: str) -> tuple[str, list[Json]]:
    """Parse MarkdownV2 into plain text and its MessageEntity objects, outermost first.

    Raises ApiError `can't parse entities: ...` for an unescaped reserved character, and for an entity that is
    not closed.
    """
    return _Parser(source).parse()


@dataclass(slots=True)
class _Parser:
    source: str
    at: int = 0
    draft: Draft = field(default_factory=Draft)
    open: list[_Open] = field(default_factory=list)
    in_quote: bool = False
    line_begins: bool = True

    def parse(self) -> tuple[str, list[Json]]:
        while self.at < len(self.source):
            character = self.source[self.at]
            if (escaped := _ESCAPED.match(self.source, self.at)) is not None:
                self._add(escaped.group(1))
                self.at = escaped.end()
            elif not self._is_reserved(character):
                self._add(character)
                self.at += 1
            elif self.in_quote and character == "\n" and self.source[self.at + 1 : self.at + 2] != ">":
                self._end_quote("\n")
                self.at += 1
            elif self.open and self._is_at(_ENDS.get(self.open[-1].kind)):
                self._end()
            else:
                self._begin(character)
        if self.in_quote:
            self._end_quote("")
        if self.open:
            raise self._unclosed()
        return self.draft.finished()

    def _add(self, character: str) -> None:
        self.draft.add(character)
        if character != "\r":
            self.line_begins = character == "\n"

    def _is_reserved(self, character: str) -> bool:
        in_code = bool(self.open) and self.open[-1].kind in ("code", "pre")
        return character == "`" if in_code else character in _RESERVED

    def _is_at(self, mark: str | None) -> bool:
        if mark == "_" and self.source.startswith("__", self.at):
            return False
        return mark is not None and self.source.startswith(mark, self.at)

    def _begin(self, character: str) -> None:
        """Read the beginning of an entity, or of a line."""
        if character == "\n":
            self._add("\n")
            self.at += 1
        elif character == ">" and self.line_begins:
            if not self.in_quote:
                self._open({"type": "blockquote"})
            self.in_quote = True
            self.at += 1
        elif (fence := FENCE_BEGIN.match(self.source, self.at)) is not None:
            self._open(code_block(fence.group(1)))
            self.at = fence.end()
        else:
            mark = next((mark for mark in _MARKS if self.source.startswith(mark, self.at)), None)
            if mark is None:
                raise refusal(f"Character '{character}' is reserved and must be escaped with the preceding '\\'")
            self._open({"type": _MARKS[mark]})
            self.at += len(mark)

    def _open(self, entity: Json) -> None:
        self.open.append(_Open(entity, self.at, self.draft.offset, len(self.draft.text)))

    def _end(self) -> None:
        """Close the innermost entity; one around nothing, or a link that leads nowhere, is none."""
        opened = self.open[-1]
        self.at += len(_ENDS[opened.kind])
        entity: Json | None = opened.entity
        if opened.kind == "text_link":
            url = self._url("a URL")
            entity = link_to(self.draft.text[opened.text_begin :] if url is None else url)
        elif opened.kind == "custom_emoji":
            entity = self._custom_emoji()
        self.open.pop()
        if entity is not None and self.draft.offset > opened.offset:
            self.draft.mark(entity, opened.offset)

    def _custom_emoji(self) -> Json:
        url = self._url("a custom emoji URL")
        if url is None:
            raise refusal("Custom emoji entity must contain a tg://emoji URL")
        found = _EMOJI.fullmatch(url)
        return custom_emoji(found.group(1) if found is not None else "")

    def _url(self, what: str) -> str | None:
        """Read an address in brackets, None when there are none."""
        found = _URL.match(self.source, self.at)
        if found is None:
            return None
        if not found.group(2):
            place = byte_offset(self.source, found.start(1))
            raise refusal(f"Can't find end of {what} at byte offset {place}")
        self.at = found.end()
        return _ESCAPED.sub(r"\1", found.group(1))

    def _end_quote(self, line_end: str) -> None:
        """Close a quotation after its last line; `||` at the end of that line folds it up."""
        kind = "blockquote"
        opened = self.open[-1]
        line = self.source[opened.position : self.at].rstrip("\r")
        if opened.kind == "spoiler" and line == "||":
            self.open.pop()
            kind = "expandable_blockquote"
        if self.open[-1].kind != "blockquote":
            raise self._unclosed()
        quote = self.open.pop()
        self._add(line_end)
        if self.draft.offset > quote.offset:
            self.draft.mark({"type": kind}, quote.offset)
        self.in_quote = False

    def _unclosed(self) -> Exception:
        place = byte_offset(self.source, self.open[-1].position)
        return refusal(f"Can't find end of {self.open[-1].name} entity at byte offset {place}")
