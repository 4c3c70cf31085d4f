"""docs/sandbox.md is complete: an operation that it leaves out fails here."""

import inspect
from pathlib import Path

import pytest

from sandbox.__main__ import main
from sandbox.methods import account, chat, money, sending

DOCS = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()
TABLES = (account.METHODS, chat.METHODS, money.METHODS, sending.METHODS)


@pytest.mark.parametrize("method", ["getUpdates", *(name for table in TABLES for name in table)])
def test_each_method_is_named(method: str) -> None:
    assert f"`{method}`" in DOCS


@pytest.mark.parametrize("option", inspect.signature(main).parameters)
def test_each_option_is_named(option: str) -> None:
    assert f"`--{option.replace('_', '-')}`" in DOCS
