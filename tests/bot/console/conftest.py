from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.desk_fixtures import books, bot, desk, server

__all__ = ["books", "bot", "desk", "server"]


@pytest.fixture
def commands(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    return Commands(database_url, monkeypatch, tmp_path)
