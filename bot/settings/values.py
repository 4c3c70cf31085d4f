"""The forms of single settings: tokens, keys, addresses and Telegram's ids."""

import re
from typing import Annotated, Final, Self

from pydantic import Field, HttpUrl, SecretStr, TypeAdapter

from db.limits import TELEGRAM_ID_MAX

TELEGRAM_API_URL: Final = "https://api.telegram.org"
TELEGRAM_TEST_URL: Final = "https://api.telegram.org/test"
"""Telegram's test environment: accounts and bots of its own (core.telegram.org/bots/features)."""
STRIPE_API_URL: Final = "https://api.stripe.com"
CONTACT_LENGTH_MAX: Final = 200
MESSAGES_PER_SECOND: Final = 25
"""Telegram allows about 30 a second in all (core.telegram.org/bots/faq); some are left for answers in chats."""
MESSAGES_PER_SECOND_MAX: Final = 1_000
"""The most that Telegram lets a bot send whose owner pays for broadcasts (core.telegram.org/bots/faq)."""
TOPIC_ID_MAX: Final = 2**31 - 1
"""The highest id of a message. A topic has the id of its first message (Telegram API, forumTopic)."""

PAYMENT_TOKEN: Final = re.compile(r"\d{1,16}:(?P<mode>TEST|LIVE):[!-~]{1,200}", re.ASCII)
"""@BotFather's token of a payment provider: the provider's bot, whether money moves, and a secret."""
STRIPE_KEY: Final = re.compile(r"[sr]k_(?P<mode>test|live)_[A-Za-z0-9_]{1,250}", re.ASCII)
"""A secret or a restricted key (Stripe's documentation, API keys)."""

NOT_IN_A_LINE: Final = frozenset({"Cc", "Zl", "Zp"})
"""Unicode's categories of controls and of breaks between lines."""

TELEGRAM_ACCOUNTS: Final = {
    777000: "Telegram's service messages",
    1087968824: "whoever writes anonymously in a group",
    136817688: "whoever writes in the name of a channel",
    93372553: "@BotFather",
    1271266957: "Telegram's replies",
    489000: "Telegram's codes",
    5434988373: "Telegram's guard against spam",
}
"""Telegram's own accounts, which stand for many people or none (Bot API, Message: from; tdlib/td, UserManager)."""

TelegramUserId = Annotated[int, Field(gt=0, le=TELEGRAM_ID_MAX)]
TOPIC_ID: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Field(gt=0, le=TOPIC_ID_MAX)])

_BOT_TOKEN: Final = re.compile(r"(?P<bot_id>[1-9]\d{0,15}):[A-Za-z0-9_-]{20,100}", re.ASCII)
_HTTP_URL: Final = TypeAdapter(HttpUrl)


class AdminChatId(int):
    """The id of the admins' group, with the topic in it where alerts go; None: the group itself."""

    topic_id: int | None

    def __new__(cls, chat_id: int, topic_id: int | None = None) -> Self:
        """Make the id of a chat, and note the topic."""
        made = super().__new__(cls, chat_id)
        made.topic_id = topic_id
        return made


def bot_id_of(token: SecretStr) -> str:
    """Return the bot's id, which is in a token before the colon. Raises ValueError for another form."""
    match = _BOT_TOKEN.fullmatch(token.get_secret_value())
    if match is None:
        raise ValueError
    return match["bot_id"]


def mode_of(form: re.Pattern[str], secret: SecretStr) -> str:
    """Return the mode that a key names, `test` or `live`. Raises ValueError for another form."""
    match = form.fullmatch(secret.get_secret_value())
    if match is None:
        raise ValueError
    return match["mode"].lower()


def http_url(value: str) -> HttpUrl:
    """Return a web address after its check. Raises ValueError for another form, or one with a user's name or password.

    The desk prints these settings, so no secret may stand in them.
    """
    url = _HTTP_URL.validate_python(value)
    if url.username is not None:
        raise ValueError
    return url
