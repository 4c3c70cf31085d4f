from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.desk_fixtures import desk

__all__ = ["desk"]


@pytest.fixture
def commands(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    return Commands(database_url, monkeypatch, tmp_path)
