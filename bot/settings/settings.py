"""The settings of the daemon: the only reader of `.env`, and of all that a person sets in the environment.

`.env.example` explains every setting to the person who fills it in. What systemd and sudo put into the environment is
read where it is needed: monitoring/systemd.py, logs.py, console/actor.py. What every program obeys (HTTPS_PROXY and
its like, SSL_CERT_FILE) is handed on from `.env` to the environment, and read in proxies.py and network.py.
"""

import difflib
import os
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    Field,
    HttpUrl,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot.settings.proxies import PROXY_FORMS, passwords_of_environment, read_proxy
from db.address import AddressError, PostgresAddress, parse_database_url
from payments.sale.payload import TELEGRAM_ID_MAX
from payments.subscriptions.chain import Terms

TELEGRAM_API_URL: Final = "https://api.telegram.org"
TELEGRAM_TEST_URL: Final = "https://api.telegram.org/test"
"""Telegram's test environment: accounts and bots of its own (core.telegram.org/bots/features)."""
STRIPE_API_URL: Final = "https://api.stripe.com"
CONTACT_LENGTH_MAX: Final = 200
TOPIC_ID_MAX: Final = 2**31 - 1
"""Of messages, and of topics, which are known by their first message (Telegram API, forumTopic)."""

_TOKEN: Final = re.compile(r"(?P<bot_id>[1-9]\d{0,15}):[A-Za-z0-9_-]{20,100}", re.ASCII)
_PAYMENT_TOKEN: Final = re.compile(r"\d{1,16}:(?P<mode>TEST|LIVE):[!-~]{1,200}", re.ASCII)
"""What @BotFather gives for a payment provider: the provider's bot, whether money moves, and a secret."""
_STRIPE_KEY: Final = re.compile(r"[sr]k_(?P<mode>test|live)_[A-Za-z0-9_]{1,250}", re.ASCII)
"""A secret or a restricted key (Stripe's documentation, API keys)."""
_OF_EVERY_PROGRAM: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What libraries read in the environment, OpenSSL among them: `.env` may have it as well."""
_TYPO_SIMILARITY: Final = 0.87
_ENCODING: Final = "utf-8-sig"
"""UTF-8, with or without the byte order mark that editors on Windows put first."""

_NOT_IN_A_LINE: Final = frozenset({"Cc", "Zl", "Zp"})
"""Unicode's categories of controls and of breaks between lines."""

_TELEGRAMS_OWN: Final = {
    777000: "Telegram's service messages",
    1087968824: "whoever writes anonymously in a group",
    136817688: "whoever writes in the name of a channel",
    93372553: "@BotFather",
    1271266957: "Telegram's replies",
    489000: "Telegram's codes",
    5434988373: "Telegram's guard against spam",
}
"""Accounts that many stand behind, or none (Bot API, Message: from; tdlib/td, UserManager)."""

_HTTP_URL: Final = TypeAdapter(HttpUrl)

_TOPIC_ID: Final[TypeAdapter[int]] = TypeAdapter(Annotated[int, Field(gt=0, le=TOPIC_ID_MAX)])

_TelegramUserId = Annotated[int, Field(gt=0, le=TELEGRAM_ID_MAX)]


class AdminChatId(int):
    """The id of the admins' group, with the topic in it where alerts go; None: the group itself."""

    topic_id: int | None

    def __new__(cls, chat_id: int, topic_id: int | None = None) -> Self:
        """Make the id of a chat, and note the topic."""
        made = super().__new__(cls, chat_id)
        made.topic_id = topic_id
        return made


class SettingsError(Exception):
    """Settings that the daemon cannot run with: one line that names each variable and the mend, and no secret."""


class _InWordsError(ValueError):
    """A mistake with a sentence of its own, which quotes no secret."""


class Settings(BaseSettings):
    """What the environment and `.env` say, checked; the environment wins.

    A field's description completes the sentences "put ... into .env" and "it takes ...": no error quotes a value.
    """

    model_config = SettingsConfigDict(
        env_file_encoding=_ENCODING,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        str_strip_whitespace=True,
    )

    telegram_bot_token: SecretStr = Field(description="the token that @BotFather gave you")
    telegram_bot_tokens_old: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="former tokens of this same bot, separated by commas"
    )
    telegram_api_url: str = Field(
        default=TELEGRAM_API_URL,
        description="the address of a Bot API server, such as http://127.0.0.1:8081, or"
        f" {TELEGRAM_TEST_URL} for Telegram's test environment",
    )
    telegram_proxy: SecretStr | None = Field(default=None, description=PROXY_FORMS)
    database_url: SecretStr = Field(
        default=SecretStr("sqlite+aiosqlite:///data/starledger.db"),
        description="sqlite+aiosqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
    )
    catalog_file: Path = Field(default=Path("catalog.toml"), description="the path of the file with your plans")
    admin_ids: Annotated[tuple[_TelegramUserId, ...], NoDecode] = Field(
        default=(), description="the admins' Telegram ids, numbers separated by commas"
    )
    admin_chat_id: Annotated[int, Field(ge=-TELEGRAM_ID_MAX, le=TELEGRAM_ID_MAX)] | None = Field(
        default=None,
        description="the id of the admins' group, a number such as -1001234567890, and if alerts go into one of its"
        " topics, a slash and the topic's number: -1001234567890/45",
    )
    support_contact: Annotated[str, Field(max_length=CONTACT_LENGTH_MAX)] | None = Field(
        default=None,
        description=f"how buyers reach you, one line of at most {CONTACT_LENGTH_MAX} characters, such as @shop_support",
    )
    http_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=0, description="the number of a free port for health and metrics, such as 9464, or 0 for none"
    )
    grace_days: Annotated[int, Field(ge=0, le=3)] = Field(
        default=1, description="the days that access stays open after a failed renewal, a number from 0 to 3"
    )
    remind_days: Annotated[int, Field(ge=0, le=28)] = Field(
        default=3, description="how many days before an end or a renewal buyers are told, a number from 0 (never) to 28"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )
    log_format: Literal["text", "json"] = Field(default="text", description="text or json")
    payment_token: SecretStr | None = Field(
        default=None, description="the provider token that @BotFather gave you for Stripe, with TEST or LIVE in it"
    )
    stripe_secret_key: SecretStr | None = Field(
        default=None,
        validate_default=True,
        description="the key of your Stripe account, sk_test_... or sk_live_...: needed beside PAYMENT_TOKEN, and test"
        " or live as that is",
    )
    stripe_api_url: str = Field(
        default=STRIPE_API_URL,
        description="the address of a Stripe for trials, such as http://127.0.0.1:8420: never beside a live key",
    )
    reconcile_minutes: int = Field(
        default=15, ge=0, le=10_080, description="minutes from 1 to 10080 (a week), or 0 for never"
    )
    sandbox_clock_url: str | None = Field(
        default=None,
        description="the address of the sandbox's clock, and only beside a TELEGRAM_API_URL that is not Telegram's own",
    )

    @property
    def bot_id(self) -> int:
        """The bot's Telegram id: the number before the colon of its token."""
        return int(self.telegram_bot_token.get_secret_value().partition(":")[0])

    @property
    def admin_topic_id(self) -> int | None:
        """The topic of the admins' group where alerts go; None: the group itself."""
        return self.admin_chat_id.topic_id if isinstance(self.admin_chat_id, AdminChatId) else None

    @property
    def terms(self) -> Terms:
        """The seller's terms for subscriptions."""
        return Terms(self.grace_days, self.remind_days)

    def secrets(self) -> frozenset[str]:
        """Return what must stand in no log line: tokens past their colon, Stripe's key, every password."""
        tokens = [self.telegram_bot_token, *self.telegram_bot_tokens_old]
        if self.payment_token is not None:
            tokens.append(self.payment_token)
        address = parse_database_url(self.database_url.get_secret_value())
        passwords: list[str | None] = list(address.secrets()) if isinstance(address, PostgresAddress) else []
        if self.stripe_secret_key is not None:
            passwords.append(self.stripe_secret_key.get_secret_value())
        if self.telegram_proxy is not None:
            passwords.append(read_proxy("", self.telegram_proxy.get_secret_value()).password)
        passwords += passwords_of_environment()
        return frozenset(
            [token.get_secret_value().partition(":")[2] for token in tokens]
            + [password for password in passwords if password]
        )

    @field_validator("telegram_bot_tokens_old", "admin_ids", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("admin_chat_id", mode="wrap")
    @classmethod
    def _with_topic(cls, value: object, read: ValidatorFunctionWrapHandler) -> AdminChatId | None:
        text, topic = str(value).strip(), None
        if value is None or isinstance(value, AdminChatId):
            return value
        if "/" in text:
            text, _, number = text.partition("/")
            topic = _TOPIC_ID.validate_python(number)
        return AdminChatId(read(text), topic)

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _any_case(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        return value.strip().upper() if info.field_name == "log_level" else value.strip().lower()

    @field_validator("telegram_bot_token")
    @classmethod
    def _is_token(cls, value: SecretStr) -> SecretStr:
        _bot_id(value)
        return value

    @field_validator("telegram_bot_tokens_old")
    @classmethod
    def _are_of_this_bot(cls, value: tuple[SecretStr, ...], info: ValidationInfo) -> tuple[SecretStr, ...]:
        # @BotFather's /revoke keeps the id: another one is another bot's, whose payments are not ours to settle.
        token = info.data.get("telegram_bot_token")
        if len({_bot_id(each) for each in (*value, token) if each is not None}) > 1:
            raise ValueError
        return value

    @field_validator("admin_ids")
    @classmethod
    def _are_persons(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        token = info.data.get("telegram_bot_token")
        own = {} if token is None else {int(_bot_id(token)): "the bot itself"}
        for each in value:
            whose = (_TELEGRAMS_OWN | own).get(each)
            if whose is not None:
                raise _InWordsError(f"{each} is no person, but {whose}: /paysupport in your bot tells your id")
        return value

    @field_validator("telegram_api_url")
    @classmethod
    def _is_api_address(cls, value: str) -> str:
        url = _http_url(value)
        if "/bot" in (url.path or "") or url.query or url.fragment:
            raise ValueError
        if url.host != _http_url(TELEGRAM_API_URL).host:
            return value.rstrip("/")
        # In the test environment the path stands behind the token, which the name of the environment alone says.
        names = {"": TELEGRAM_API_URL, "/test": TELEGRAM_TEST_URL}
        path = (url.path or "").rstrip("/")
        if (url.scheme, url.port) != ("https", 443) or path not in names:
            raise ValueError
        return names[path]

    @field_validator("telegram_proxy")
    @classmethod
    def _is_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            read_proxy("", value.get_secret_value())
        return value

    @field_validator("database_url")
    @classmethod
    def _is_usable_database(cls, value: SecretStr) -> SecretStr:
        parse_database_url(value.get_secret_value())
        return value

    @field_validator("support_contact")
    @classmethod
    def _is_a_line(cls, value: str | None) -> str | None:
        if value is not None and any(unicodedata.category(character) in _NOT_IN_A_LINE for character in value):
            raise ValueError
        return value

    @field_validator("payment_token")
    @classmethod
    def _is_payment_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _mode(_PAYMENT_TOKEN, value)
        return value

    @field_validator("stripe_secret_key")
    @classmethod
    def _goes_with_the_payment_token(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        token = info.data.get("payment_token")
        # Without a key nothing could be given back; of two modes one is not the other's money.
        if token is not None and (value is None or _mode(_STRIPE_KEY, value) != _mode(_PAYMENT_TOKEN, token)):
            raise ValueError
        if value is not None:
            _mode(_STRIPE_KEY, value)
        return value

    @field_validator("stripe_api_url")
    @classmethod
    def _is_stripe_address(cls, value: str, info: ValidationInfo) -> str:
        url, key = _http_url(value), info.data.get("stripe_secret_key")
        if url.query or url.fragment:
            raise ValueError
        # A key that moves money is told to nobody but Stripe.
        if url != _http_url(STRIPE_API_URL) and key is not None and _mode(_STRIPE_KEY, key) == "live":
            raise ValueError
        return value.rstrip("/")

    @field_validator("sandbox_clock_url")
    @classmethod
    def _is_beside_a_sandbox(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        _http_url(value)
        # Where real money moves, nobody but the machine tells the time.
        if _http_url(info.data.get("telegram_api_url", TELEGRAM_API_URL)).host == _http_url(TELEGRAM_API_URL).host:
            raise ValueError
        return value

    @classmethod
    def load(cls, env_file: Path = Path(".env")) -> Self:
        """Read the environment and `env_file`, if there is one; raises SettingsError with all that is wrong."""
        try:
            typos = _typos(env_file)
            _hand_on(env_file)
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"{env_file} cannot be read: it takes a file of UTF-8 text") from error
        try:
            settings = cls(_env_file=env_file)
        except ValidationError as error:
            # Not chained: pydantic's own text quotes what it was given.
            raise SettingsError("; ".join(typos + _mistakes(error))) from None
        if typos:
            raise SettingsError("; ".join(typos))
        return settings


def _mistakes(error: ValidationError) -> list[str]:
    said = {}
    for each in error.errors(include_input=False, include_url=False):
        field = str(each["loc"][0])
        what = Settings.model_fields[field].description
        if each["type"] == "missing":
            said[field] = f"{field.upper()} is missing: put {what} into .env"
        else:
            why = each.get("ctx", {}).get("error")
            # Of an address alone there is more to say than what it takes; its words quote nothing.
            more = f" ({why})" if isinstance(why, AddressError) else ""
            mend = f"{why}" if isinstance(why, _InWordsError) else f"it takes {what}{more}"
            said[field] = f"{field.upper()} is wrong: {mend}"
    return list(said.values())


def _typos(env_file: Path) -> list[str]:
    """Find names in `.env` that are nearly ours: ADMIN_ID for ADMIN_IDS would be passed over, and no admin known."""
    names = [name.upper() for name in Settings.model_fields]
    found = []
    for key in dotenv_values(env_file, encoding=_ENCODING):
        near = difflib.get_close_matches(key.upper(), names, n=1, cutoff=_TYPO_SIMILARITY)
        if near and near[0] != key.upper():
            found.append(f"{key} in {env_file} is no setting: write {near[0]}")
    return found


def _hand_on(env_file: Path) -> None:
    """Put what `.env` says to every program into the environment, which wins."""
    for name, value in dotenv_values(env_file, encoding=_ENCODING).items():
        if name.upper() in _OF_EVERY_PROGRAM and value:
            is_there = os.environ.get(name.upper()) or os.environ.get(name.lower())
            os.environ[name] = is_there or value


def _bot_id(token: SecretStr) -> str:
    match = _TOKEN.fullmatch(token.get_secret_value())
    if match is None:
        raise ValueError
    return match["bot_id"]


def _mode(form: re.Pattern[str], secret: SecretStr) -> str:
    """Return `test` or `live`, as a key of this form says it; raises ValueError for one of another form."""
    match = form.fullmatch(secret.get_secret_value())
    if match is None:
        raise ValueError
    return match["mode"].lower()


def _http_url(value: str) -> HttpUrl:
    url = _HTTP_URL.validate_python(value)
    if url.username is not None:  # a password in it would be a secret in a setting that is printed
        raise ValueError
    return url
