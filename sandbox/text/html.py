"""The parser of HTML in messages: text and entities come out, or a refusal in Telegram's own words.

Follows TDLib's parse_html (MessageEntity.cpp), byte offsets included, so that the sandbox, and not a customer, catches
a bot which forgets to escape somebody's name.
"""

import re
from dataclasses import dataclass

from sandbox.shapes import Json, without_none
from sandbox.text.parts import Draft, byte_offset, custom_emoji, link_to, refusal

_SIMPLE = {
    "b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "ins": "underline",
    "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough", "tg-spoiler": "spoiler",
    "span": "spoiler", "pre": "pre", "code": "code",
}  # fmt: skip
_TAGS = frozenset({*_SIMPLE, "a", "tg-emoji", "tg-time", "blockquote"})
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_REFERENCE = re.compile(r"&(?:#x([0-9a-fA-F]+)|#([0-9]+)|([a-zA-Z]+));?")
_REFERENCE_LENGTH_MAX = 10
_CODE_POINT_MAX = 0x10FFFF
_TAG_NAME = re.compile(r"[^\s>]*")
_SPACE = re.compile(r"\s*")
_ATTRIBUTE_NAME = re.compile(r"[^\s=>/\"']*")
_NAME_TOKEN = re.compile(r"[A-Za-z0-9.-]*")
_PLAIN = re.compile(r"[^<&]+")


@dataclass(slots=True)
class _Open:
    tag: str
    argument: str
    offset: int
    text_begin: int


def parse_html(source: str) -> tuple[str, list[Json]]:
    """Parse HTML into plain text and its MessageEntity objects, outermost first.

    Raises ApiError `can't parse entities: ...` for HTML that Telegram refuses.
    """
    return _Parser(source).parse()


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.draft = Draft()
        self.open: list[_Open] = []

    def parse(self) -> tuple[str, list[Json]]:
        while self.at < len(self.source):
            character = self.source[self.at]
            if character == "<":
                self._tag()
            elif character == "&":
                self.draft.add(self._reference())
            else:
                plain = _PLAIN.match(self.source, self.at)
                assert plain is not None  # noqa: S101 - neither < nor & is here, so one character matches
                self.at = plain.end()
                self.draft.add(plain.group())
        if self.open:
            raise refusal(f'Can\'t find end tag corresponding to start tag "{self.open[-1].tag}"')
        return self.draft.finished()

    def _reference(self) -> str:
        """Read an HTML character reference, or the ampersand alone when it is none."""
        found = _REFERENCE.match(self.source, self.at)
        character = None if found is None else _referred(found)
        self.at = self.at + 1 if found is None or character is None else found.end()
        return "&" if character is None else character

    def _tag(self) -> None:
        begin = self.at
        if self.source.startswith("</", begin):
            self._end_tag(begin)
        else:
            self._start_tag(begin)

    def _start_tag(self, begin: int) -> None:
        tag = self._read(_TAG_NAME, begin + 1).lower()
        if self._ended():
            raise refusal(f"Unclosed start tag at byte offset {self._bytes(begin)}")
        if tag not in _TAGS:
            raise refusal(f'Unsupported start tag "{tag}" at byte offset {self._bytes(begin)}')
        argument = ""
        while not self._skip(">"):
            self._read(_SPACE, self.at)
            if self._skip(">"):
                break
            argument = self._attribute(tag, begin) or argument
        if tag == "span" and argument != "spoiler":
            raise refusal(f'Tag "span" must have class "tg-spoiler" at byte offset {self._bytes(begin)}')
        self.open.append(_Open(tag, argument, self.draft.offset, len(self.draft.text)))

    def _attribute(self, tag: str, begin: int) -> str:
        """Read one HTML attribute; return its value for the entity, or nothing."""
        name = self._read(_ATTRIBUTE_NAME, self.at)
        if not name:
            raise refusal(f'Empty attribute name in the tag "{tag}" at byte offset {self._bytes(begin)}')
        self._read(_SPACE, self.at)
        if not self._skip("="):
            if self._ended():
                raise refusal(f'Unclosed start tag "{tag}" at byte offset {self._bytes(begin)}')
            return "1" if (tag, name) == ("blockquote", "expandable") else ""
        self._read(_SPACE, self.at)
        if self._ended():
            raise refusal(f'Unclosed start tag "{tag}" at byte offset {self._bytes(begin)}')
        value = self._value(begin)
        match tag, name:
            case ("a", "href") | ("tg-emoji", "emoji-id"):
                return value
            case ("code", "class") if value.startswith("language-"):
                return value.removeprefix("language-")
            case ("span", "class") if value.startswith("tg-"):
                return value.removeprefix("tg-")
            case ("blockquote", "expandable"):
                return "1"
        return ""

    def _value(self, begin: int) -> str:
        quote = self.source[self.at]
        if quote not in "'\"":
            token_begin = self.at
            token = self._read(_NAME_TOKEN, self.at).lower()
            if not self._ended() and not (self.source[self.at].isspace() or self.source[self.at] == ">"):
                raise refusal(f"Unexpected end of name token at byte offset {self._bytes(token_begin)}")
        else:
            self.at += 1
            end = self.source.find(quote, self.at)
            end = len(self.source) if end < 0 else end
            token = _REFERENCE.sub(lambda found: _referred(found) or found.group(), self.source[self.at : end])
            self.at = end + 1
        if self._ended():
            raise refusal(f"Unclosed start tag at byte offset {self._bytes(begin)}")
        return token

    def _end_tag(self, begin: int) -> None:
        if not self.open:
            raise refusal(f"Unexpected end tag at byte offset {self._bytes(begin)}")
        tag = self._read(_TAG_NAME, begin + 2).lower()
        self._read(_SPACE, self.at)
        if not self._skip(">"):
            raise refusal(f"Unclosed end tag at byte offset {self._bytes(begin)}")
        opened = self.open.pop()
        if tag not in ("", opened.tag):
            where = f'at byte offset {self._bytes(begin)}, expected "</{opened.tag}>", found "</{tag}>"'
            raise refusal(f"Unmatched end tag {where}")
        if self.draft.offset > opened.offset:
            self._close(opened)

    def _close(self, opened: _Open) -> None:
        entity = _entity(opened, self.draft.text[opened.text_begin :])
        if entity is None:
            return
        span = {"offset": opened.offset, "length": self.draft.offset - opened.offset}
        inner = self.draft.entities[-1] if self.draft.entities else {}
        nested = {inner.get("type"), entity["type"]} == {"pre", "code"} and span.items() <= inner.items()
        language = entity.get("language") or inner.get("language")
        if nested and language:
            # <pre><code class="language-x"> is one block of code in a language, in either order.
            self.draft.entities[-1] = {"type": "pre", **span, "language": language}
            return
        self.draft.mark(entity, opened.offset)

    def _read(self, pattern: re.Pattern[str], begin: int) -> str:
        found = pattern.match(self.source, begin)
        assert found is not None  # noqa: S101 - each of these patterns matches nothing, too
        self.at = found.end()
        return found.group()

    def _skip(self, character: str) -> bool:
        if self.source.startswith(character, self.at):
            self.at += 1
            return True
        return False

    def _ended(self) -> bool:
        return self.at >= len(self.source)

    def _bytes(self, position: int) -> int:
        return byte_offset(self.source, position)


def _referred(found: re.Match[str]) -> str | None:
    """Return the character of an HTML reference, None for one that Telegram does not know."""
    hexadecimal, decimal, name = found.groups()
    if name is not None:
        return _NAMED.get(name)
    if len(found.group().rstrip(";")) >= _REFERENCE_LENGTH_MAX:
        return None
    code = int(hexadecimal, 16) if hexadecimal else int(decimal)
    return chr(code) if 0 < code < _CODE_POINT_MAX else None


def _entity(opened: _Open, inner_text: str) -> Json | None:
    """Return the entity of a closed HTML tag, None for a link that leads nowhere."""
    match opened.tag:
        case "a":
            return link_to(opened.argument or inner_text)
        case "tg-emoji":
            return custom_emoji(opened.argument)
        case "tg-time":
            return None
        case "blockquote":
            return {"type": "expandable_blockquote" if opened.argument else "blockquote"}
        case "code":
            return without_none(type="code", language=opened.argument or None)
    return {"type": _SIMPLE[opened.tag]}
