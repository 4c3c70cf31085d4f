"""What the sandbox answers when it refuses, in Telegram's own words and form.

ApiError            a Bot API call is refused: becomes an HTTP answer
+-- RetryAfterError      429 with the seconds to wait
+-- MigratedError        400 with the new id of a group
ControlError        the control API is asked for what cannot be (an unknown user, a button that is not there)

The wording rules are those of telegram-bot-api, Client.cpp, fail_query_with_error.
"""

from typing import Any

_PREFIXES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 500: "Internal Server Error"}

# Server errors that Telegram rewrites: code and words (Client.cpp, fail_query_with_error).
_REWRITTEN = {
    "USER_IS_BLOCKED": (403, "bot was blocked by the user"),
    "INPUT_USER_DEACTIVATED": (403, "user is deactivated"),
    "QUERY_ID_INVALID": (400, "query is too old and response timeout expired or query ID is invalid"),
    "MESSAGE_DELETE_FORBIDDEN": (400, "message can't be deleted"),
    "MESSAGE_NOT_MODIFIED": (
        400,
        (
            "message is not modified: specified new message content and reply markup are exactly the same as a"
            " current content and reply markup of the message"
        ),
    ),
}


class ControlError(Exception):
    """The control API cannot do what it was asked; the message says why."""


class ApiError(Exception):
    """A refused Bot API call: an error code and a text, as TDLib or Telegram's servers raise them.

    `description` is the text as the Bot API words it: prefix, and the first letter in lower case unless
    the second one is upper case or an underscore.
    """

    def __init__(self, code: int, text: str) -> None:
        code, text = _REWRITTEN.get(text, (code, text))
        prefix = _PREFIXES.get(code)
        if prefix is not None and not text.startswith(prefix):
            keep = len(text) > 1 and (text[1] == "_" or "A" <= text[1] <= "Z")
            text = f"{prefix}: {text if keep else text[:1].lower() + text[1:]}"
        self.code = code
        self.description = text
        super().__init__(text)

    def body(self) -> dict[str, Any]:
        """Give the JSON body of the answer."""
        return {"ok": False, "error_code": self.code, "description": self.description}


class RetryAfterError(ApiError):
    """429: the caller has to wait `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(429, f"Too Many Requests: retry after {retry_after_seconds}")
        self.retry_after_seconds = retry_after_seconds

    def body(self) -> dict[str, Any]:
        """Give the JSON body, with the seconds as a number beside the text."""
        return {**super().body(), "parameters": {"retry_after": self.retry_after_seconds}}


class MigratedError(ApiError):
    """400: the group has become a supergroup, with an id of its own (Bot API, ResponseParameters)."""

    def __init__(self, chat_id: int) -> None:
        super().__init__(400, "group chat was upgraded to a supergroup chat")
        self.chat_id = chat_id

    def body(self) -> dict[str, Any]:
        """Give the JSON body, with the new id as a number beside the text."""
        return {**super().body(), "parameters": {"migrate_to_chat_id": self.chat_id}}


def bad_request(text: str) -> ApiError:
    """Make the 400 that nearly every refusal is."""
    return ApiError(400, text)
