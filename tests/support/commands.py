"""The operator's commands, run in this process as a person would run them."""

import asyncio
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner, Result

from bot.__main__ import app

TOKEN: Final = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
CATALOG_FILE: Final = Path(__file__).parents[2] / "catalog.example.toml"


class Commands:
    """`python -m bot ...` on one database."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        monkeypatch.chdir(directory)
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("CATALOG_FILE", str(CATALOG_FILE))
        monkeypatch.setenv("TELEGRAM_API_URL", "http://127.0.0.1:1")
        self.directory: Final = directory

    async def run(self, *arguments: str, answer: str = "") -> Result:
        """Run a command to its end; `answer` is what the person types."""
        return await asyncio.to_thread(lambda: CliRunner().invoke(app, list(arguments), input=answer))

    async def prints(self, *arguments: str, status: int = 0) -> str:
        """Run a command that ends with this status, and return what it prints on stdout."""
        result = await self.run(*arguments)
        assert result.exit_code == status, (result.output, result.exception)
        return result.stdout
