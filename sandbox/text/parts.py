"""Parts of the three markup parsers: lengths, the draft of text and entities, links, refusals."""

import re
from dataclasses import dataclass, field

from sandbox.errors import bad_request
from sandbox.shapes import Json

_USER_LINK = re.compile(r"tg://user\?id=([0-9]+)$")
_WEB_LINK = re.compile(r"(?:(?:https?|tg|ton|tonsite)://)?[^\s/]+\.?[^\s]*$", re.IGNORECASE)


@dataclass(slots=True)
class Draft:
    """A text without its markup, and the entities found until now; `offset` is where it ends, in UTF-16 units."""

    text: str = ""
    offset: int = 0
    entities: list[Json] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Append text to the draft."""
        self.text += text
        self.offset += utf16_length(text)

    def mark(self, entity: Json, begin: int) -> None:
        """Add an entity over the draft from `begin` on."""
        shape = {"type": entity["type"], "offset": begin, "length": self.offset - begin}
        self.entities.append(shape | entity)

    def finished(self) -> tuple[str, list[Json]]:
        """Return the draft's text and its MessageEntity objects, outermost first."""
        return self.text, sorted(self.entities, key=lambda entity: (entity["offset"], -entity["length"]))


def utf16_length(text: str) -> int:
    """Return the length of a text in UTF-16 code units, as Telegram counts offsets and lengths."""
    return len(text) + sum(character > "\uffff" for character in text)


def byte_offset(source: str, position: int) -> int:
    """Return the byte offset in a markup text that a refusal names."""
    return len(source[:position].encode(errors="surrogatepass"))


def link_to(url: str) -> Json | None:
    """Return the entity of a link, None for one that leads nowhere."""
    user = _USER_LINK.match(url)
    if user is not None:
        return {"type": "text_mention", "user": {"id": int(user.group(1)), "is_bot": False, "first_name": ""}}
    return {"type": "text_link", "url": url} if _WEB_LINK.match(url) else None


def custom_emoji(number: str) -> Json:
    """Return the entity of a custom emoji; raises ApiError for a false identifier."""
    if not number.isdigit() or not int(number):
        raise refusal("Invalid custom emoji identifier specified")
    return {"type": "custom_emoji", "custom_emoji_id": number}


def refusal(text: str) -> Exception:
    """Return the ApiError for a text that Telegram refuses."""
    return bad_request(f"Can't parse entities: {text}")
