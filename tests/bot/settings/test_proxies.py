"""The proxy of each call, and the part of its address that a log may show."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.calls.network import is_exposed
from bot.settings.proxies import Proxy, passwords_of_environment, proxy_of_environment, read_proxy

TELEGRAM = "https://api.telegram.org"
CREDENTIALS = st.text(st.characters(max_codepoint=255), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://proxy", "http://proxy:80"),
        ("https://proxy/", "https://proxy:443"),
        ("proxy:3128", "http://proxy:3128"),
        ("socks5://ann:secret@10.0.0.1", "socks5://ann:secret@10.0.0.1:1080"),
        ("socks5h://proxy:1080", "socks5://proxy:1080"),
        ("socks://proxy:1080/", "socks5://proxy:1080"),
        ("http://ann:p%40ss%3A@[::1]:3128", "http://ann:p%40ss%3A@[::1]:3128"),
    ],
)
def test_address_of_a_proxy_is_read(value: str, address: str) -> None:
    assert read_proxy("HTTPS_PROXY", value).address == address


@pytest.mark.parametrize(
    "value",
    [
        "",
        "ftp://proxy:21",
        "socks4://proxy:1080",
        "http://",
        "http://proxy:port",
        "http://proxy:70000",
        "http://proxy/path",
        "http://proxy?query=1",
        f"socks5://{'a' * 256}@proxy",
        "http://a:%E2%82%AC@proxy",
    ],
)
def test_wrong_address_of_a_proxy_is_refused(value: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - no words: whoever names the variable adds them
        read_proxy("HTTPS_PROXY", value)


@given(user=CREDENTIALS, password=CREDENTIALS)
def test_a_password_comes_through_and_stands_in_no_words(user: str, password: str) -> None:
    proxy = Proxy("TELEGRAM_PROXY", "socks5", "proxy", 1080, user, password)
    assert read_proxy("TELEGRAM_PROXY", proxy.address) == proxy
    assert f"{proxy}" == f"{proxy!r}" == "socks5://proxy:1080 (TELEGRAM_PROXY)"


@given(st.text(string.printable, max_size=60))
def test_any_proxy_value_is_read_or_refused_in_words(value: str) -> None:
    if value == "":
        return
    try:
        assert proxy_of_environment(TELEGRAM, {"HTTPS_PROXY": value}) is not None
    except ValueError as error:
        said = str(error)
    else:
        return
    assert said.startswith("HTTPS_PROXY is wrong: it takes the address of a proxy")


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://a:1"}, "http://a:1"),
        ({"https_proxy": "http://b:1", "HTTPS_PROXY": "http://a:1"}, "http://b:1"),
        ({"HTTP_PROXY": "http://a:1"}, None),
        ({"ALL_PROXY": "socks5://c:1"}, "socks5://c:1"),
        ({"ALL_PROXY": "socks5://c:1", "HTTPS_PROXY": "http://a:1"}, "http://a:1"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": ""}, None),
    ],
)
def test_proxy_variables_count_in_their_order(environment: dict[str, str], proxy: str | None) -> None:
    found = proxy_of_environment(TELEGRAM, environment)
    assert (found.address if found else None) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_straight"),
    [
        ("api.telegram.org", TELEGRAM, True),
        ("telegram.org", TELEGRAM, True),
        (".telegram.org", TELEGRAM, True),
        ("*.telegram.org", TELEGRAM, True),
        ("shop.example, API.Telegram.org:443 ,", TELEGRAM, True),
        ("*", TELEGRAM, True),
        ("api.telegram.org:8443", TELEGRAM, False),
        ("gram.org", TELEGRAM, False),
        ("", TELEGRAM, False),
        ("10.0.0.0/8", "https://10.1.2.3:8081", True),
        ("10.1.2.3", "https://10.1.2.3:8081", True),
        ("10.0.0.0/8", "https://11.1.2.3:8081", False),
        ("", "http://127.0.0.1:8081", True),
        ("", "http://localhost:8081", True),
        ("", "http://[::1]:8081", True),
    ],
)
def test_no_proxy_names_hosts_reached_without_a_proxy(no_proxy: str, url: str, *, is_straight: bool) -> None:
    proxies = {"HTTPS_PROXY": "http://a:1", "HTTP_PROXY": "http://a:1", "NO_PROXY": no_proxy}
    assert (proxy_of_environment(url, proxies) is None) is is_straight


def test_the_passwords_of_the_environment_are_secrets() -> None:
    environment = {"HTTPS_PROXY": "http://a:one@x", "all_proxy": "socks5://a:t%40o@x", "HTTP_PROXY": "ftp://a:three@x"}
    assert passwords_of_environment(environment) == {"one", "t@o"}


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("https://api.telegram.org", False),
        ("http://127.0.0.1:8081", False),
        ("http://localhost:8081", False),
        ("http://[::1]:8081", False),
        ("http://10.0.0.5:8081", False),
        ("http://192.168.1.5", False),
        ("http://[fd00::5]:8081", False),
        ("http://bot-api:8081", False),
        ("http://bot-api.internal:8081", False),
        ("http://api.example.com", True),
        ("http://8.8.8.8:8081", True),
        ("http://[2001:4860:4860::8888]:8081", True),
    ],
)
def test_token_is_exposed_over_plain_http_to_another_machine(url: str, *, exposed: bool) -> None:
    assert is_exposed(url) is exposed
