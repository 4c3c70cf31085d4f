"""DATABASE_URL as providers print it is parsed; an error about any other quotes nothing of it."""

import string
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.address import AddressError, PostgresAddress, Server, SqliteAddress, parse_database_url
from db.address.parameters import Parameters, Tls

SECRET: Final = "hush-hush"


def postgresql(url: str) -> PostgresAddress:
    """Return what is read from an address of a PostgreSQL."""
    address = parse_database_url(url)
    assert isinstance(address, PostgresAddress)
    return address


def parameters(query: str) -> Parameters:
    """Return what is read from behind the `?`."""
    return postgresql(f"postgresql://desk@db/desk?{query}").parameters


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "PostgreSQL"])
def test_the_name_of_the_scheme_changes_nothing(scheme: str) -> None:
    address = postgresql(f"{scheme}://desk:{SECRET}@db.example.org/shop")
    assert address.servers == (Server("db.example.org", 5432),)
    assert (address.user, address.password, address.database) == ("desk", SECRET, "shop")
    assert address.parameters == Parameters()
    assert not address.needs_writable


def test_sqlite_stays_a_file() -> None:
    address = parse_database_url("sqlite+aiosqlite:///data/desk.db")
    assert isinstance(address, SqliteAddress)
    assert address.path == Path("data/desk.db")


@pytest.mark.parametrize(
    ("place", "servers"),
    [
        ("db/desk", [("db", 5432)]),
        ("db:6543/desk", [("db", 6543)]),
        ("10.0.0.7:5433/desk", [("10.0.0.7", 5433)]),
        ("[::1]/desk", [("::1", 5432)]),
        ("[fe80::1%25eth0]:5433/desk", [("fe80::1%eth0", 5433)]),
        ("h1:1,h2:2/desk", [("h1", 1), ("h2", 2)]),
        ("h1,[::1]:2,h3/desk", [("h1", 5432), ("::1", 2), ("h3", 5432)]),
        ("/desk?host=h1:1&host=h2:2", [("h1", 1), ("h2", 2)]),
        ("/desk?host=h1,h2&port=1,2", [("h1", 1), ("h2", 2)]),
        ("/desk?host=h1&port=1&host=h2&port=2", [("h1", 1), ("h2", 2)]),
        ("/desk?host=h1,h2&port=7", [("h1", 7), ("h2", 7)]),
        ("/desk?host=::1&port=7", [("::1", 7)]),
        ("elsewhere/desk?host=h1", [("h1", 5432)]),
        ("/desk?host=/run/postgresql", [("/run/postgresql", 5432)]),
        ("/desk?host=/run/postgresql&port=5433", [("/run/postgresql", 5433)]),
        ("%2Frun%2Fpostgresql/desk", [("/run/postgresql", 5432)]),
        ("%2Frun%2Fpostgresql:5433/desk", [("/run/postgresql", 5433)]),
        ("/desk", [("", 5432)]),
        (":5433/desk", [("", 5433)]),
        ("db_1.internal./desk", [("db_1.internal.", 5432)]),
        ("bücher.example/desk", [("bücher.example", 5432)]),
    ],
)
def test_servers_of_the_address_are_read(place: str, servers: list[tuple[str, int]]) -> None:
    for account in ("", f"desk:{SECRET}@"):
        address = postgresql(f"postgresql://{account}{place}")
        assert [(each.host, each.port) for each in address.servers] == servers
        assert address.database == "desk"
        assert address.needs_writable is (len(servers) > 1)


@pytest.mark.parametrize(
    ("account", "user", "password"),
    [
        ("desk:p%40ss%3Aw%2Frd", "desk", "p@ss:w/rd"),
        ("desk:p@ss", "desk", "p@ss"),
        ("desk:a:b", "desk", "a:b"),
        ("desk:50%off", "desk", "50%off"),
        ("desk:%D0%BF", "desk", "п"),
        ("de%40sk", "de@sk", None),
        ("desk:", "desk", None),
        ("", None, None),
    ],
)
def test_user_and_password_of_the_address_are_read(account: str, user: str | None, password: str | None) -> None:
    address = postgresql(f"postgresql://{account}@db/desk")
    assert (address.user, address.password) == (user, password)
    assert password is None or {password, account.partition(":")[2]} <= address.secrets()


def test_user_password_and_name_may_stand_behind_the_question_mark() -> None:
    address = postgresql(f"postgresql://?host=db&user=desk&password={SECRET}&dbname=shop")
    assert (address.servers, address.user, address.password) == ((Server("db"),), "desk", SECRET)
    assert address.database == "shop"


@pytest.mark.parametrize(
    ("query", "tls"),
    [
        ("", Tls("prefer")),
        *(
            (f"sslmode={mode}", Tls(mode))
            for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
        ),
        ("sslmode=REQUIRE", Tls("require")),
        ("sslmode=", Tls("prefer")),
        ("ssl=require", Tls("require")),
        ("ssl=true", Tls("require")),
        ("ssl=false", Tls("disable")),
        ("sslmode=no-verify", Tls("require")),
        ("sslmode=require&sslaccept=accept_invalid_certs", Tls("require")),
        ("sslmode=require&sslrootcert=/ca.pem", Tls("verify-ca", "/ca.pem")),
        ("sslmode=prefer&sslrootcert=/ca.pem", Tls("prefer", "/ca.pem")),
        ("sslmode=verify-full&sslrootcert=system", Tls("verify-full", "system")),
        ("sslrootcert=system", Tls("verify-full", "system")),
        ("sslmode=require&sslcert=/c&sslkey=/k&sslpassword=x&sslcrl=/l", Tls("require", None, "/c", "/k", "x", "/l")),
        ("ssl_min_protocol_version=TLSv1.3", Tls(version_min="TLSv1.3")),
        ("sslmode=require&sslnegotiation=direct", Tls("require", is_direct=True)),
        ("sslnegotiation=direct&sslmode=verify-full", Tls("verify-full", is_direct=True)),
        ("channel_binding=require", Tls("require")),
        ("channel_binding=prefer", Tls("prefer")),
        ("sslmode=verify-full&channel_binding=require", Tls("verify-full")),
    ],
)
def test_tls_has_libpqs_meaning(query: str, tls: Tls) -> None:
    assert parameters(query).tls == tls


@pytest.mark.parametrize("value", ["read-write", "primary", "any", "prefer-standby"])
def test_a_server_that_takes_writes_is_wanted_when_it_is_asked_for(value: str) -> None:
    said = f"target_session_attrs={value}"
    assert parameters(said).needs_writable is (value in {"read-write", "primary"})
    # Of several only the one that takes writes is of use, also where any would do.
    assert postgresql(f"postgresql://h1,h2/desk?{said}").needs_writable


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ("options=-csearch_path%3Dbot1", {"search_path": "bot1"}),
        (
            "options=-c%20search_path%3Dbot1%20-c%20statement_timeout%3D5s",
            {"search_path": "bot1", "statement_timeout": "5s"},
        ),
        ("options=--search_path=bot1", {"search_path": "bot1"}),
        ("options=-c+search_path=bot1", {"search_path": "bot1"}),
        ("options=-c%20search_path%3Dbot1%2Cextensions", {"search_path": "bot1,extensions"}),
        ("options=endpoint%3Dep-cool-name-123", {}),
        ("options=project%3Dep-cool-name-123", {}),
        ("options=reference%3Dabcdefgh", {}),
        ("options=-c%20lock_timeout%3D0", {}),
        ("search_path=bot1", {"search_path": "bot1"}),
        ("currentSchema=bot1", {"search_path": "bot1"}),
        ("schema=bot1", {"search_path": "bot1"}),
    ],
)
def test_options_of_the_address_become_session_settings(query: str, settings: dict[str, str]) -> None:
    assert dict(parameters(query).settings) == settings


@pytest.mark.parametrize(("value", "seconds"), [("10", 10), ("1", 2), ("0", 3), ("100000", 60)])
def test_connect_timeout_is_bounded(value: str, seconds: float) -> None:
    assert parameters(f"connect_timeout={value}").connect_seconds == seconds


def test_the_name_of_the_program_is_ascii_and_fits() -> None:
    assert parameters("application_name=shop%20one").application_name == "shop one"
    assert parameters("application_name=bücher").application_name == "b?cher"
    assert len(parameters(f"application_name={'x' * 200}").application_name) == 63


@pytest.mark.parametrize(
    "url",
    [
        # Heroku, Render, Railway, Fly
        "postgres://u1:p1@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d1abc",
        "postgresql://u:p@dpg-abc-a.oregon-postgres.render.com/shop?ssl=true",
        "postgresql://postgres:p@containers-us-west-1.railway.app:5433/railway",
        "postgres://shop:p@shop-db.flycast:5432/shop?sslmode=disable",
        # Neon
        "postgresql://u:npg_p@ep-a-1-pooler.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require",
        "postgres://u:p@ep-a-1.eu-central-1.aws.neon.tech/neondb?sslmode=require&options=endpoint%3Dep-a-1",
        "postgresql://u:p@ep-a-1.neon.tech/neondb?sslmode=require&pgbouncer=true&connect_timeout=15&pool_timeout=15",
        # Supabase
        "postgresql://postgres.ref:p@aws-0-eu-central-1.pooler.supabase.com:5432/postgres",
        "postgres://postgres.ref:p@aws-0.pooler.supabase.com:6543/postgres?pgbouncer=true&connection_limit=1",
        "postgres://postgres.ref:p@aws-0.pooler.supabase.com:6543/postgres?sslmode=require&supa=base-pooler.x",
        # DigitalOcean, Aiven, RDS, Azure, Crunchy, Scaleway
        "postgresql://doadmin:p@db-do-user-1-0.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
        "postgres://avnadmin:p@pg-1.aivencloud.com:12345/defaultdb?sslmode=verify-ca&sslrootcert=/etc/ca.pem",
        "postgresql://u:p@db.abc.eu-west-1.rds.amazonaws.com:5432/shop?sslmode=verify-full&sslrootcert=/etc/rds.pem",
        "postgresql://u%40server:p@server.postgres.database.azure.com:5432/shop?sslmode=require",
        # Patroni, pgpool; other drivers' habits
        "postgresql://u:p@h1:5432,h2:5432,h3:5432/shop?target_session_attrs=read-write&load_balance_hosts=disable",
        "postgresql+asyncpg://u:p@/shop?host=h1:5432&host=h2:5432",
        "postgresql+asyncpg://u:p@h/shop?prepared_statement_cache_size=0",
        "postgresql://u:p@h/shop?uselibpqcompat=true&sslmode=require",
        "postgresql://u:p@h/shop?keepalives=1&keepalives_idle=30&tcp_user_timeout=10000&gssencmode=disable",
    ],
)
def test_address_printed_by_a_provider_is_read(url: str) -> None:
    address = postgresql(url)
    assert address.user
    assert address.password
    assert address.database


REFUSED: Final = [
    (SECRET, "does not begin with"),
    (f"mysql://desk:{SECRET}@db/desk", "begins with neither"),
    (f"jdbc:postgresql://desk:{SECRET}@db/desk", "does not begin with"),
    (f"host=db dbname=desk password={SECRET}", "does not begin with"),
    (f"psql postgresql://desk:{SECRET}@db/desk", "does not begin with"),
    ("sqlite+aiosqlite://", "names no file"),
    ("sqlite+aiosqlite:///:memory:", "names no file"),
    (f"postgresql://desk:{SECRET}@db", "names no database"),
    (f"postgresql://desk:{SECRET}@db/", "names no database"),
    (f"postgresql://desk:{SECRET}@db:port/desk", "port is not a number"),
    (f"postgresql://desk:{SECRET}@db:0/desk", "port is not a number"),
    (f"postgresql://desk:{SECRET}@db:65536/desk", "port is not a number"),
    (f"postgresql://desk:{SECRET}@db:٣/desk", "port is not a number"),
    (f"postgresql://desk:{SECRET}@h1:1:2/desk", "IPv6 address in it has no brackets"),
    (f"postgresql://desk:{SECRET}@[::1/desk", "neither a name nor an address"),
    (f"postgresql://desk:{SECRET}@[hush]/desk", "neither a name nor an address"),
    (f"postgresql://desk:{SECRET}@a..b/desk", "neither a name nor an address"),
    (f"postgresql://desk:{SECRET}@{'a' * 64}/desk", "neither a name nor an address"),
    (f"postgresql://desk:{SECRET}@d b/desk", "neither a name nor an address"),
    (f"postgresql://desk:x#{SECRET}@db/desk", "percent-encoded"),
    (f"postgresql://desk:1/{SECRET}@db/desk", "percent-encoded"),
    (f"postgresql://desk:1?{SECRET}@db/desk", "NAME=VALUE"),
    (f"postgresql://desk:1?a={SECRET}@db/desk", "names no database"),
    (f"postgresql://desk:1?a={SECRET}@db/desk&dbname=shop", "parameter 1 behind the ? is unknown"),
    (f"postgresql://desk:{SECRET}@db/desk?a=1?b=2", "percent-encoded"),
    (f"postgresql://desk:{SECRET}%00@db/desk", "control character"),
    (f"postgresql://desk:{SECRET}%ff@db/desk", "not UTF-8"),
    (f"postgresql://desk:{SECRET}\n@db/desk", "control character"),
    (f"postgresql://desk:{SECRET}@db/desk?sslmode={SECRET}", "sslmode is one of"),
    (f"postgresql://desk:{SECRET}@db/desk?{SECRET}=1", "parameter 1 behind the ? is unknown"),
    (f"postgresql://desk:{SECRET}@db/desk?sslmode=require&sslrootcert=system", "verify-full alone"),
    (f"postgresql://desk:{SECRET}@db/desk?sslmode=disable&channel_binding=require", "contradict its sslmode"),
    (f"postgresql://desk:{SECRET}@db/desk?sslnegotiation=direct", "contradict its sslmode"),
    (f"postgresql://desk:{SECRET}@db/desk?sslaccept=strict", "sslaccept is not supported"),
    (f"postgresql://desk:{SECRET}@db/desk?target_session_attrs=standby", "the desk writes"),
    (f"postgresql://desk:{SECRET}@db/desk?target_session_attrs=read-only", "the desk writes"),
    (f"postgresql://desk:{SECRET}@db/desk?connect_timeout=soon", "number of seconds"),
    (f"postgresql://desk:{SECRET}@db/desk?channel_binding=yes", "disable, prefer or require"),
    (f"postgresql://desk:{SECRET}@db/desk?gssencmode=require", "gssencmode"),
    (f"postgresql://desk:{SECRET}@db/desk?hostaddr=10.0.0.1", "hostaddr is not supported"),
    (f"postgresql://desk:{SECRET}@db/desk?service=shop", "service is not supported"),
    (f"postgresql://desk:{SECRET}@db/desk?require_auth=scram-sha-256", "require_auth is not supported"),
    (f"postgresql://desk:{SECRET}@db/desk?options=-csession_replication_role%3Dreplica", "more than the desk supports"),
    (f"postgresql://desk:{SECRET}@db/desk?options={SECRET}", "options is -c search_path"),
    (f"postgresql://desk:{SECRET}@db/desk?options='{SECRET}", "options is -c search_path"),
    (f"postgresql://desk:{SECRET}@db/desk?ssl_min_protocol_version=SSLv3", "is one of TLSv1"),
    (f"postgresql://desk:{SECRET}@/desk?port=5433", "port= without host="),
    (f"postgresql://desk:{SECRET}@/desk?host=h1,h2,h3&port=1,2", "fewer or more ports than hosts"),
    (f"postgresql://desk:{SECRET}@{','.join(['h'] * 17)}/desk", "more than 16 servers"),
    (f"postgresql://desk:{SECRET}@db/desk?{'&'.join(['sslsni=1'] * 65)}", "more than 64 parameters"),
    (f"postgresql://desk:{SECRET}@db/{'d' * 4096}", "longer than 4096"),
]


@pytest.mark.parametrize(("url", "words"), REFUSED)
def test_wrong_address_is_refused_without_a_quotation(url: str, words: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_database_url(url)
    assert words in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_password_is_printed() -> None:
    address = postgresql(f"postgresql://desk:{SECRET}@db/desk?sslpassword=key-{SECRET}&sslmode=verify-full")
    for shown in (repr(address), str(address), address.names, address.without_password):
        assert SECRET not in shown
    assert {SECRET, f"key-{SECRET}"} <= address.secrets()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://desk@h1:1,h2:2/desk?sslmode=verify-full&sslrootcert=%2Fca.pem",
        "postgresql://de%40sk@[::1]:7/de%2Fsk",
        "postgresql://%2Frun%2Fpostgresql:5433/desk?options=-c%20search_path%3Dbot1",
        "postgresql:///desk",
        "postgresql://desk@:5433/desk",
    ],
)
def test_the_address_for_postgresqls_own_programs_leads_to_the_same_place(url: str) -> None:
    assert postgresql(url).without_password == url
    assert postgresql(postgresql(url).without_password) == postgresql(url)


_PASSWORD: Final = "Zq9!xW7_"
_PIECES: Final = st.sampled_from(
    [
        *(
            "postgresql://",
            "postgres://",
            "postgresql+asyncpg://",
            "sqlite+aiosqlite:///",
            "://",
            "desk",
            _PASSWORD,
            ":",
            "@",
        ),
        *(
            "/",
            "?",
            "&",
            "=",
            ",",
            "[",
            "]",
            "%",
            "%40",
            "%2F",
            "%00",
            "#",
            "::1",
            "h1",
            "5432",
            "db",
            " ",
            "+",
            "'",
            "\\",
        ),
        *(
            "sslmode=",
            "require",
            "host=",
            "port=",
            "options=",
            "-c",
            "search_path=",
            "ssl=true",
            "\0",
            "\n",
            "é",
            "\ud800",
        ),
    ]
)


def _read(url: str) -> PostgresAddress | SqliteAddress | AddressError:
    try:
        return parse_database_url(url)
    except AddressError as refusal:
        return refusal


@given(st.lists(_PIECES, max_size=14).map("".join) | st.text(max_size=60) | st.text(string.printable, max_size=60))
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    for url in (text, f"postgresql://desk:{_PASSWORD}@{text}", f"postgresql://desk:{_PASSWORD}{text}@db/desk"):
        read = _read(url)
        if isinstance(read, AddressError):
            assert _PASSWORD not in str(read)
            assert "\n" not in str(read)
            assert read.__cause__ is None
        elif isinstance(read, PostgresAddress):
            assert all(1 <= each.port <= 65535 for each in read.servers)
            assert read.database
            assert read.password is None or read.password in read.secrets()
