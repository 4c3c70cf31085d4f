"""`doctor` reports a check that itself fails in one line, and goes on with the others."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest

from bot.console.doctor import examination, telegram
from bot.console.doctor import stripe as stripe_checks
from bot.console.doctor.checks import Check, ok
from tests.support.commands import TOKEN, Commands
from tests.support.stripe_account import KEY as STRIPE_KEY

LOOKS: Final = (
    *("look_at_env_file", "look_at_settings", "look_at_catalog", "look_at_disk", "look_at_files"),
    *("look_at_database", "look_at_desk", "look_at_network"),
)


def _mishap() -> Any:
    raise LookupError(f"nobody has thought of this: {TOKEN}\nsecond line")


def _at_once(*_: Any, **__: Any) -> Any:
    _mishap()


def _midway(*_: Any, **__: Any) -> Iterator[Check]:
    yield ok("first", "was looked at")
    _mishap()


async def _midway_of_what_waits(*_: Any, **__: Any) -> AsyncIterator[Check]:
    yield ok("first", "was looked at")
    _mishap()


async def _of_one_that_waits(*_: Any, **__: Any) -> Check:
    check: Check = _mishap()
    return check


@pytest.mark.parametrize("kind", [_at_once, _midway, _midway_of_what_waits, _of_one_that_waits])
@pytest.mark.parametrize("look", LOOKS)
async def test_an_exception_in_a_check_is_its_failure(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, look: str, kind: Any
) -> None:
    if look in {"look_at_env_file", "look_at_catalog"} and kind is not _at_once:
        pytest.skip("it is asked for a value, not for checks")
    monkeypatch.setattr(examination, look, kind)
    said = await commands.prints("doctor", status=1)
    [line] = [line for line in said.splitlines() if "could not be looked at: LookupError: nobody has thought" in line]
    assert line.startswith("failure  ")
    assert TOKEN not in said
    assert "second line" not in said
    assert ("first: was looked at" in said) == (kind in {_midway, _midway_of_what_waits})
    if look != "look_at_network":
        assert "telegram: cannot be asked: " in said, "the others are looked at all the same"
    assert " failures, " in said


@pytest.mark.parametrize("name", ["look_at_telegram", "look_at_stripe"])
async def test_exception_in_a_network_check_is_its_failure(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PAYMENT_TOKEN", "1:TEST:x")
    monkeypatch.setenv("STRIPE_SECRET_KEY", STRIPE_KEY)
    module = telegram if name == "look_at_telegram" else stripe_checks
    monkeypatch.setattr(module, name, _midway_of_what_waits if module is telegram else _of_one_that_waits)
    said = await commands.prints("doctor", status=1)
    subject = name.removeprefix("look_at_")
    assert f"failure  {subject}: could not be looked at: LookupError: nobody has thought" in said
    assert "failure  stripe: " in said
    assert STRIPE_KEY not in said


async def test_settings_that_are_no_text_are_a_failure(commands: Commands) -> None:
    (commands.directory / ".env").write_bytes(b"SUPPORT_CONTACT=\xff\xfe\n")
    said = await commands.prints("doctor", status=1)
    assert "failure  settings: " in said
