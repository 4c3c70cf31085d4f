"""One line of the text log is one event, whatever a user wrote into a logged value."""

import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from bot.monitoring import logs

FORGED = "granted\n2026-01-01 00:00:00.000Z INFO     payments.settlement.worker: refunded"


def _logged(message: str, **bound: str) -> str:
    stream = io.StringIO()
    logs.configure("INFO", "text", (), stream)
    logger.bind(**bound).info("{}", message)
    return stream.getvalue()


@pytest.mark.parametrize("bad", ["\n", "\r", "\x1b[2K", "\x85", "\u2028", "\u202e", "\x0b", "\x00", "\ud800", "\u200f"])
def test_no_character_breaks_a_line_or_orders_a_terminal(bad: str) -> None:
    for line in (_logged(f"a{bad}b"), _logged("a", charge_id=f"a{bad}b")):
        assert len(line.splitlines()) == 1
        assert bad not in line.removesuffix("\n")
        line.encode("utf-8")


@given(st.text(), st.text())
def test_any_logged_text_is_one_line(message: str, value: str) -> None:
    line = _logged(message, charge_id=value).removesuffix("\n")
    assert len(line.splitlines()) == 1
    assert not [each for each in line if unicodedata.category(each) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


def test_letters_of_every_language_stay() -> None:
    assert "Ünïcode Премиум 高級 ⭐" in _logged("Ünïcode Премиум 高級 ⭐")


def test_text_in_an_error_forges_no_line_of_the_log() -> None:
    stream = io.StringIO()
    logs.configure("INFO", "text", (), stream)
    logger.opt(exception=ValueError(FORGED)).error("{}", FORGED)
    lines = stream.getvalue().splitlines()
    assert len([line for line in lines if re.match(r"\d{4}-", line)]) == 1
    assert "ValueError" in stream.getvalue()
