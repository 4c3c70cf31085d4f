"""The settings of the daemon: each field with its check, and the only reader of what a person sets in the environment.

`.env.example` explains every setting to the person who fills it in. systemd and sudo set variables of their own:
monitoring/systemd.py, monitoring/logs.py and console/actor.py read them. Variables that every program obeys
(HTTPS_PROXY and its like, SSL_CERT_FILE) go from `.env` into the environment, for proxies.py and calls/network.py.
"""

import unicodedata
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bot.settings.env_file import ENCODING, hand_on, misspelt
from bot.settings.mistakes import InWordsError, SettingsError, describe_mistakes
from bot.settings.proxies import PROXY_FORMS, passwords_of_environment, read_proxy
from bot.settings.values import (
    CONTACT_LENGTH_MAX,
    MESSAGES_PER_SECOND,
    MESSAGES_PER_SECOND_MAX,
    NOT_IN_A_LINE,
    PAYMENT_TOKEN,
    STRIPE_API_URL,
    STRIPE_KEY,
    TELEGRAM_ACCOUNTS,
    TELEGRAM_API_URL,
    TELEGRAM_TEST_URL,
    TOPIC_ID,
    AdminChatId,
    TelegramUserId,
    bot_id_of,
    http_url,
    mode_of,
)
from db.address import PostgresAddress, parse_database_url
from db.limits import TELEGRAM_ID_MAX
from payments.subscriptions.chain import Terms


class Settings(BaseSettings):
    """The values of the environment and of `.env`, checked; the environment wins.

    A field's description completes the sentences "put ... into .env" and "it takes ...": no error quotes a value.
    """

    model_config = SettingsConfigDict(
        env_file_encoding=ENCODING,
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
    admin_ids: Annotated[tuple[TelegramUserId, ...], NoDecode] = Field(
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
    messages_per_second: Annotated[int, Field(ge=1, le=MESSAGES_PER_SECOND_MAX)] = Field(
        default=MESSAGES_PER_SECOND,
        description=f"how many messages the desk sends a second, a number from 1 to {MESSAGES_PER_SECOND_MAX}",
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
        """Return the values that no log line may show: tokens past their colon, Stripe's key, passwords."""
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
            topic = TOPIC_ID.validate_python(number)
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
        bot_id_of(value)
        return value

    @field_validator("telegram_bot_tokens_old")
    @classmethod
    def _are_of_this_bot(cls, value: tuple[SecretStr, ...], info: ValidationInfo) -> tuple[SecretStr, ...]:
        # @BotFather's /revoke keeps the bot's id, so a token with another id is another bot's, with its own payments.
        token = info.data.get("telegram_bot_token")
        if len({bot_id_of(each) for each in (*value, token) if each is not None}) > 1:
            raise ValueError
        return value

    @field_validator("admin_ids")
    @classmethod
    def _are_persons(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        token = info.data.get("telegram_bot_token")
        own = {} if token is None else {int(bot_id_of(token)): "the bot itself"}
        for each in value:
            whose = (TELEGRAM_ACCOUNTS | own).get(each)
            if whose is not None:
                raise InWordsError(f"{each} is no person, but {whose}: /paysupport in your bot tells your id")
        return value

    @field_validator("telegram_api_url")
    @classmethod
    def _is_api_address(cls, value: str) -> str:
        url = http_url(value)
        if "/bot" in (url.path or "") or url.query or url.fragment:
            raise ValueError
        if url.host != http_url(TELEGRAM_API_URL).host:
            return value.rstrip("/")
        # Telegram's test environment has its path behind the token; the setting only names the environment.
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
        if value is not None and any(unicodedata.category(character) in NOT_IN_A_LINE for character in value):
            raise ValueError
        return value

    @field_validator("payment_token")
    @classmethod
    def _is_payment_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            mode_of(PAYMENT_TOKEN, value)
        return value

    @field_validator("stripe_secret_key")
    @classmethod
    def _goes_with_the_payment_token(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        token = info.data.get("payment_token")
        # A refund by card needs the key, and a key for test money refunds no live money.
        if token is not None and (value is None or mode_of(STRIPE_KEY, value) != mode_of(PAYMENT_TOKEN, token)):
            raise ValueError
        if value is not None:
            mode_of(STRIPE_KEY, value)
        return value

    @field_validator("stripe_api_url")
    @classmethod
    def _is_stripe_address(cls, value: str, info: ValidationInfo) -> str:
        url, key = http_url(value), info.data.get("stripe_secret_key")
        if url.query or url.fragment:
            raise ValueError
        # A live key goes to Stripe alone, because it moves money.
        if url != http_url(STRIPE_API_URL) and key is not None and mode_of(STRIPE_KEY, key) == "live":
            raise ValueError
        return value.rstrip("/")

    @field_validator("sandbox_clock_url")
    @classmethod
    def _is_beside_a_sandbox(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        http_url(value)
        # Real money moves at Telegram's own address, so no clock but the machine's counts there.
        if http_url(info.data.get("telegram_api_url", TELEGRAM_API_URL)).host == http_url(TELEGRAM_API_URL).host:
            raise ValueError
        return value

    @classmethod
    def load(cls, env_file: Path = Path(".env")) -> Self:
        """Read the settings: environment and `env_file`, if it exists. Raises SettingsError with every mistake."""
        try:
            typos = misspelt(env_file, cls.model_fields)
            hand_on(env_file)
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"{env_file} cannot be read: it takes a file of UTF-8 text") from error
        try:
            settings = cls(_env_file=env_file)
        except ValidationError as error:
            # Not chained, because pydantic's own text quotes the values.
            raise SettingsError("; ".join(typos + describe_mistakes(error, cls.model_fields))) from None
        if typos:
            raise SettingsError("; ".join(typos))
        return settings
