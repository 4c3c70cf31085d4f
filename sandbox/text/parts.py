"""What the three markups have in common: lengths, the text and entities that are built, links, refusals."""

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
        """Go on with a text."""
        self.text += text
        self.offset += utf16_length(text)

    def mark(self, entity: Json, begin: int) -> None:
        """Lay an entity over all from `begin` on."""
        shape = {"type": entity["type"], "offset": begin, "length": self.offset - begin}
        self.entities.append(shape | entity)

    def finished(self) -> tuple[str, list[Json]]:
        """Give the text and its MessageEntity objects, outermost first."""
        return self.text, sorted(self.entities, key=lambda entity: (entity["offset"], -entity["length"]))


def utf16_length(text: str) -> int:
    """Count as Telegram counts offsets and lengths: UTF-16 code units."""
    return len(text) + sum(character > "\uffff" for character in text)


def byte_offset(source: str, position: int) -> int:
    """Give the place that a refusal names."""
    return len(source[:position].encode(errors="surrogatepass"))


def link_to(url: str) -> Json | None:
    """Describe a link, None for one that leads nowhere."""
    user = _USER_LINK.match(url)
    if user is not None:
        return {"type": "text_mention", "user": {"id": int(user.group(1)), "is_bot": False, "first_name": ""}}
    return {"type": "text_link", "url": url} if _WEB_LINK.match(url) else None


def custom_emoji(number: str) -> Json:
    """Describe a custom emoji; raises ApiError for what is no number of one."""
    if not number.isdigit() or not int(number):
        raise refusal("Invalid custom emoji identifier specified")
    return {"type": "custom_emoji", "custom_emoji_id": number}


def refusal(text: str) -> Exception:
    """Make the ApiError with which a text is refused."""
    return bad_request(f"Can't parse entities: {text}")
