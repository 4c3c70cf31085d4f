"""The arguments of a Bot API call, read as Client.cpp reads them: all are text, and an empty one counts as absent."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from sandbox.errors import bad_request

_INT32_MAX = 2**31 - 1
_NUMBER = re.compile(r"-?[0-9]{1,40}")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that the bot uploads with a Bot API call."""

    name: str
    mime_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Args:
    """The arguments of one Bot API call: named texts and files."""

    values: dict[str, str] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return an argument, or an empty text."""
        return self.values.get(name, "")

    def required(self, name: str) -> str:
        """Return a required argument; raises ApiError without it."""
        value = self.text(name)
        if not value:
            raise bad_request(f'Parameter "{name}" is required')
        return value

    def integer(self, name: str, default: int = 0, low: int = -_INT32_MAX - 1, high: int = _INT32_MAX) -> int:
        """Return an argument as a number, clamped into its range; other text counts as 0."""
        value = self.text(name)
        return min(max(leading_integer(value), low), high) if value else default

    def boolean(self, name: str) -> bool:
        """Tell whether an argument is `true`, `yes` or `1`, in any case."""
        return self.text(name).strip().lower() in ("true", "yes", "1")

    def json(self, name: str, refusal: str) -> Any:
        """Parse an argument as JSON, None when absent; raises ApiError with `refusal`."""
        value = self.text(name)
        if not value:
            return None
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise bad_request(refusal) from None

    def user_id(self) -> int:
        """Return the argument user_id; raises ApiError when it is missing, no number, zero or negative."""
        number = leading_integer(self.text("user_id"))
        if number <= 0:
            raise bad_request("Invalid user_id specified")
        return number

    def message_id(self, name: str = "message_id") -> int:
        """Return a message id from an argument, 0 when absent or negative."""
        return self.integer(name, 0, 0)


def leading_integer(text: str) -> int:
    """Return the number at the start of an argument's text, else 0, as TDLib's to_integer does."""
    found = _NUMBER.match(text)
    return int(found.group()) if found else 0
