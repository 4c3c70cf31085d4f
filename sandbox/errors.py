"""Refusals of the sandbox, in Telegram's own words and form.

ApiError            the Bot API refuses a call: becomes an HTTP answer
+-- RetryAfterError      429 with the seconds to wait
+-- MigratedError        400 with the new id of a group
ControlError        the control API refuses an impossible request (an unknown user, a button that does not exist)

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
    """A refusal of the control API; the message says why."""


class ApiError(Exception):
    """A refusal of the Bot API: an error code and a text, as TDLib or Telegram's servers raise them.

    `description` is the text as the Bot API words it: prefix, and the first letter in lower case unless the second one
    is upper case or an underscore.
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
        """Return the JSON body of the Bot API's refusal."""
        return {"ok": False, "error_code": self.code, "description": self.description}


class RetryAfterError(ApiError):
    """The refusal 429 of the Bot API: the caller has to wait `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(429, f"Too Many Requests: retry after {retry_after_seconds}")
        self.retry_after_seconds = retry_after_seconds

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the refusal 429, with the seconds as a number beside the text."""
        return {**super().body(), "parameters": {"retry_after": self.retry_after_seconds}}


class MigratedError(ApiError):
    """The refusal 400 for a group that has become a supergroup, with its new id (Bot API, ResponseParameters)."""

    def __init__(self, chat_id: int) -> None:
        super().__init__(400, "group chat was upgraded to a supergroup chat")
        self.chat_id = chat_id

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the refusal, with the group's new id as a number beside the text."""
        return {**super().body(), "parameters": {"migrate_to_chat_id": self.chat_id}}


def bad_request(text: str) -> ApiError:
    """Return the Bot API's refusal 400, the most frequent one."""
    return ApiError(400, text)
