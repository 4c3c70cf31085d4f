import re
from pathlib import Path
from typing import Final

import pytest

from bot.desk.parts import make_admins
from bot.settings import Settings, SettingsError
from payments.subscriptions.chain import Terms

TOKEN: Final = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
OLD_TOKEN: Final = "1000001:BBHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
ANOTHER_BOTS_TOKEN: Final = "1000002:CCHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
PAYMENT_TOKEN: Final = "284685063:TEST:OGY4ZjZiNzk0"
STRIPE_KEY: Final = "sk_test_51Qw9zKLm"
LIVE_KEY: Final = "rk_live_51Qw9zKLm"
EXAMPLE: Final = Path(__file__).parents[3] / ".env.example"


def load(directory: Path, *lines: str, token: str = TOKEN) -> Settings:
    env_file = directory / ".env"
    env_file.write_text("\n".join([f"TELEGRAM_BOT_TOKEN={token}", *lines]), encoding="utf-8")
    return Settings.load(env_file)


def test_without_a_variable_its_default_stands(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.model_dump(exclude={"telegram_bot_token", "database_url"}) == {
        "telegram_bot_tokens_old": (),
        "telegram_api_url": "https://api.telegram.org",
        "telegram_proxy": None,
        "catalog_file": Path("catalog.toml"),
        "admin_ids": (),
        "admin_chat_id": None,
        "support_contact": None,
        "http_port": 0,
        "log_level": "INFO",
        "log_format": "text",
        "payment_token": None,
        "stripe_secret_key": None,
        "stripe_api_url": "https://api.stripe.com",
        "reconcile_minutes": 15,
        "grace_days": 1,
        "remind_days": 3,
        "messages_per_second": 25,
        "sandbox_clock_url": None,
    }
    assert settings.database_url.get_secret_value().startswith("sqlite+aiosqlite:///data/")
    assert settings.bot_id == 1000001


def test_every_value_is_read(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        f"TELEGRAM_BOT_TOKENS_OLD={OLD_TOKEN}, {TOKEN},",
        "TELEGRAM_API_URL=http://127.0.0.1:8081/",
        "DATABASE_URL=postgresql+asyncpg://desk:secret@db/desk",
        "CATALOG_FILE=/etc/starledger/catalog.toml",
        "ADMIN_IDS= 7, 8 ,9",
        "ADMIN_CHAT_ID=-1001234567890",
        "SUPPORT_CONTACT= Ann & Bob <help@shop.example>, 🧑‍💻 @shop_support ",
        "HTTP_PORT=9464",
        "LOG_LEVEL=debug",
        "LOG_FORMAT=JSON",
        f"PAYMENT_TOKEN={PAYMENT_TOKEN}",
        f"STRIPE_SECRET_KEY={STRIPE_KEY}",
        "STRIPE_API_URL=http://127.0.0.1:8420",
        "RECONCILE_MINUTES=0",
        "GRACE_DAYS=0",
        "REMIND_DAYS=28",
        "MESSAGES_PER_SECOND=1000",
        "SANDBOX_CLOCK_URL=http://127.0.0.1:8081/clock",
    )
    assert [old.get_secret_value() for old in settings.telegram_bot_tokens_old] == [OLD_TOKEN, TOKEN]
    assert settings.telegram_api_url == "http://127.0.0.1:8081"
    assert settings.database_url.get_secret_value() == "postgresql+asyncpg://desk:secret@db/desk"
    assert settings.catalog_file == Path("/etc/starledger/catalog.toml")
    assert settings.admin_ids == (7, 8, 9)
    assert settings.admin_chat_id == -1001234567890
    assert settings.support_contact == "Ann & Bob <help@shop.example>, 🧑‍💻 @shop_support"
    assert settings.http_port == 9464
    assert (settings.log_level, settings.log_format) == ("DEBUG", "json")
    assert settings.payment_token is not None
    assert settings.payment_token.get_secret_value() == PAYMENT_TOKEN
    assert settings.stripe_secret_key is not None
    assert settings.stripe_secret_key.get_secret_value() == STRIPE_KEY
    assert settings.stripe_api_url == "http://127.0.0.1:8420"
    assert settings.reconcile_minutes == 0
    assert settings.terms == Terms(grace_days=0, remind_days=28)
    assert settings.messages_per_second == 1000
    assert settings.sandbox_clock_url == "http://127.0.0.1:8081/clock"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_IDS", "5")
    assert load(tmp_path, "ADMIN_IDS=7").admin_ids == (5,)


def test_a_setting_left_empty_is_left_out(tmp_path: Path) -> None:
    assert load(tmp_path, "ADMIN_CHAT_ID=", "CATALOG_FILE=").admin_chat_id is None


def test_alerts_go_to_the_admins_group_and_without_one_to_each_admin(tmp_path: Path) -> None:
    assert make_admins(load(tmp_path, "ADMIN_IDS=7,8")).chat_ids == (7, 8)
    assert make_admins(load(tmp_path, "ADMIN_IDS=7,8", "ADMIN_CHAT_ID=-100")).chat_ids == (-100,)


def test_the_admins_group_may_be_a_topic_in_it(tmp_path: Path) -> None:
    settings = load(tmp_path, "ADMIN_CHAT_ID=-1001234567890/45")
    assert (settings.admin_chat_id, settings.admin_topic_id) == (-1001234567890, 45)
    assert make_admins(settings).chat_ids == (-1001234567890,)
    assert load(tmp_path, "ADMIN_CHAT_ID=-1001234567890").admin_topic_id is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_does_not_hide_the_first_setting(tmp_path: Path, encoding: str) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(f"TELEGRAM_BOT_TOKEN={TOKEN}\n", encoding=encoding)
    assert Settings.load(env_file).bot_id == 1000001


def test_a_missing_token_is_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(tmp_path / "there is none")
    assert str(caught.value) == "TELEGRAM_BOT_TOKEN is missing: put the token that @BotFather gave you into .env"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TELEGRAM_BOT_TOKEN", "not-a-token-but-secret"),
        ("TELEGRAM_BOT_TOKEN", "1000001:secret"),
        ("TELEGRAM_BOT_TOKENS_OLD", f"{OLD_TOKEN},secret"),
        ("TELEGRAM_BOT_TOKENS_OLD", ANOTHER_BOTS_TOKEN),
        ("TELEGRAM_API_URL", "api.telegram.org"),
        ("TELEGRAM_API_URL", "ftp://api.telegram.org"),
        ("TELEGRAM_API_URL", f"https://api.telegram.org/bot{TOKEN}"),
        ("TELEGRAM_API_URL", "https://me:secret@proxy"),
        ("DATABASE_URL", "mysql://desk:secret@db/desk"),
        ("DATABASE_URL", "postgresql+asyncpg://desk:secret@db:port/desk"),
        ("DATABASE_URL", "secret"),
        ("DATABASE_URL", "sqlite+aiosqlite://"),
        ("DATABASE_URL", "sqlite+aiosqlite:///:memory:"),
        ("ADMIN_IDS", "@secret"),
        ("ADMIN_IDS", "7,-8"),
        ("ADMIN_IDS", str(1 << 52)),
        ("ADMIN_CHAT_ID", "the secret group"),
        ("ADMIN_CHAT_ID", "-100123/"),
        ("ADMIN_CHAT_ID", "-100123/0"),
        ("ADMIN_CHAT_ID", "-100123/secret"),
        ("ADMIN_CHAT_ID", "-100123/45/6"),
        ("ADMIN_CHAT_ID", f"-100123/{1 << 31}"),
        ("SUPPORT_CONTACT", 201 * "s"),
        ("SUPPORT_CONTACT", "@secret\n@shop"),
        ("SUPPORT_CONTACT", "@secret\u2028@shop"),
        ("SUPPORT_CONTACT", "@secret\x1b[2J"),
        ("SUPPORT_CONTACT", "@secret\udcff"),
        ("HTTP_PORT", "secret"),
        ("HTTP_PORT", "65536"),
        ("LOG_LEVEL", "secretive"),
        ("LOG_FORMAT", "secretive"),
        ("PAYMENT_TOKEN", "secret"),
        ("PAYMENT_TOKEN", "284685063:MAYBE:secret"),
        ("STRIPE_SECRET_KEY", "secret"),
        ("STRIPE_SECRET_KEY", "pk_test_secret"),
        ("STRIPE_API_URL", "https://me:secret@stripe"),
        ("STRIPE_API_URL", "api.stripe.com"),
        ("RECONCILE_MINUTES", "-1"),
        ("RECONCILE_MINUTES", "10081"),
        ("GRACE_DAYS", "4"),
        ("GRACE_DAYS", "-1"),
        ("REMIND_DAYS", "29"),
        ("MESSAGES_PER_SECOND", "0"),
        ("MESSAGES_PER_SECOND", "1001"),
        ("SANDBOX_CLOCK_URL", "http://127.0.0.1:8081/clock"),
    ],
)
@pytest.mark.criterion("S7")
def test_a_wrong_value_is_named_with_the_mend_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"\A{name} is wrong: it takes [^\n]+\Z") as caught:
        load(tmp_path)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_sandboxs_clock_is_refused_beside_telegrams_own_address(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SANDBOX_CLOCK_URL is wrong"):
        load(tmp_path, "TELEGRAM_API_URL=https://API.telegram.org:443/", "SANDBOX_CLOCK_URL=http://127.0.0.1:1/clock")


@pytest.mark.parametrize("key", ["", f"STRIPE_SECRET_KEY={LIVE_KEY}"])
def test_a_provider_token_is_refused_without_a_key_of_the_same_mode(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError, match=r"\ASTRIPE_SECRET_KEY is wrong: it takes [^\n;]+\Z") as caught:
        load(tmp_path, f"PAYMENT_TOKEN={PAYMENT_TOKEN}", key)
    assert "51Qw9zKLm" not in str(caught.value)
    assert "OGY4ZjZiNzk0" not in str(caught.value)


def test_a_live_key_is_told_to_nobody_but_stripe(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\ASTRIPE_API_URL is wrong: it takes [^\n;]+\Z"):
        load(tmp_path, f"STRIPE_SECRET_KEY={LIVE_KEY}", "STRIPE_API_URL=http://127.0.0.1:8420")
    at_stripe = load(tmp_path, f"STRIPE_SECRET_KEY={LIVE_KEY}", "STRIPE_API_URL=https://API.stripe.com:443/")
    assert at_stripe.stripe_secret_key is not None


def test_a_desk_that_no_longer_sells_by_card_keeps_the_key_for_refunds(tmp_path: Path) -> None:
    settings = load(tmp_path, f"STRIPE_SECRET_KEY={STRIPE_KEY}", "STRIPE_API_URL=http://127.0.0.1:8420/")
    assert settings.payment_token is None
    assert settings.stripe_secret_key is not None
    assert settings.stripe_api_url == "http://127.0.0.1:8420"


def test_all_mistakes_stand_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "ADMIN_IDS=x,y", "LOG_FORMAT=xml", "DATABASE_URI=z", token="x")
    text = str(caught.value)
    assert "\n" not in text
    assert [part.partition(" ")[0] for part in text.split("; ")] == [
        "DATABASE_URI",
        "TELEGRAM_BOT_TOKEN",
        "ADMIN_IDS",
        "LOG_FORMAT",
    ]


@pytest.mark.parametrize(("typo", "meant"), [("ADMIN_ID", "ADMIN_IDS"), ("TELEGRAM_TOKEN", "TELEGRAM_BOT_TOKEN")])
def test_a_name_that_is_nearly_a_settings_is_refused(tmp_path: Path, typo: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=rf"{typo} in \S+ is no setting: write {meant}$"):
        load(tmp_path, f"{typo}=1")


@pytest.mark.parametrize("name", ["TELEGRAM_WEBHOOK_URL", "COMPOSE_FILE"])
def test_the_names_of_others_are_passed_over(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, f"{name}=1") == load(tmp_path)


def test_a_file_that_is_no_text_is_told_of(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(f"TELEGRAM_BOT_TOKEN={TOKEN}\n", encoding="utf-16")
    with pytest.raises(SettingsError, match=r"\.env cannot be read: it takes a file of UTF-8 text"):
        Settings.load(env_file)


@pytest.mark.criterion("S7")
def test_printing_the_settings_shows_no_secret(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        f"TELEGRAM_BOT_TOKENS_OLD={OLD_TOKEN}",
        "DATABASE_URL=postgresql+asyncpg://desk:p%40ss-word@db/desk",
        f"PAYMENT_TOKEN={PAYMENT_TOKEN}",
        f"STRIPE_SECRET_KEY={STRIPE_KEY}",
    )
    tokens = {token.partition(":")[2] for token in (TOKEN, OLD_TOKEN, PAYMENT_TOKEN)}
    assert settings.secrets() == tokens | {"p@ss-word", "p%40ss-word", STRIPE_KEY}
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert not any(secret in shown for secret in settings.secrets())


def test_a_password_in_the_databases_query_is_a_secret(tmp_path: Path) -> None:
    settings = load(tmp_path, "DATABASE_URL=postgresql+asyncpg://db/desk?user=desk&password=hush-hush")
    assert "hush-hush" in settings.secrets()


def test_the_example_file_explains_every_setting_with_its_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    switched_on = re.sub(r"^# (?=[A-Z_]+=)", "", text, flags=re.MULTILINE)
    names = re.findall(r"^([A-Z_]+)=", switched_on, flags=re.MULTILINE)
    assert sorted(names) == sorted(name.upper() for name in Settings.model_fields)
    env_file = tmp_path / "filled in"
    env_file.write_text(switched_on.replace("TELEGRAM_BOT_TOKEN=", f"TELEGRAM_BOT_TOKEN={TOKEN}"), encoding="utf-8")
    assert Settings.load(env_file) == load(tmp_path)
    for paragraph in switched_on.split("\n\n")[1:]:
        assert re.match(r"(# .+\n)+[A-Z_]+=\S*\n?\Z", paragraph), "an explanation, and its setting below it"


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://api.telegram.org/", "https://api.telegram.org"),
        ("https://API.telegram.org:443", "https://api.telegram.org"),
        ("https://api.telegram.org/test/", "https://api.telegram.org/test"),
        ("https://bot-api.example/test", "https://bot-api.example/test"),
    ],
)
def test_telegrams_own_address_and_that_of_its_test_environment(tmp_path: Path, url: str, taken: str) -> None:
    assert load(tmp_path, f"TELEGRAM_API_URL={url}").telegram_api_url == taken


@pytest.mark.parametrize(
    "url", ["http://api.telegram.org", "https://api.telegram.org/tests", "https://api.telegram.org:8443"]
)
def test_another_address_at_telegram_is_refused_with_the_one_that_is_meant(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match=r"https://api\.telegram\.org/test for Telegram's test environment"):
        load(tmp_path, f"TELEGRAM_API_URL={url}")


def test_the_password_of_a_proxy_is_a_secret(tmp_path: Path) -> None:
    assert "p@ss" in load(tmp_path, "TELEGRAM_PROXY=socks5://ann:p%40ss@proxy:1080").secrets()


def test_a_wrong_proxy_is_refused_and_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, "TELEGRAM_PROXY=ftp://ann:secret@proxy:21")
    assert str(caught.value).startswith("TELEGRAM_PROXY is wrong: it takes the address of a proxy, http://HOST:PORT")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("telegram_id", "whose"),
    [
        (777000, "service messages"),
        (1087968824, "anonymously"),
        (136817688, "a channel"),
        (93372553, "@BotFather"),
        (1000001, "the bot itself"),
    ],
)
def test_an_account_of_telegrams_own_is_no_admin(tmp_path: Path, telegram_id: int, whose: str) -> None:
    with pytest.raises(SettingsError, match=f"^ADMIN_IDS is wrong: {telegram_id} is no person, but .*{whose}"):
        load(tmp_path, f"ADMIN_IDS=7,{telegram_id}")
