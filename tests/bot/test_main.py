import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import create_engine, inspect
from typer.testing import CliRunner

from bot.__main__ import app

pytestmark = pytest.mark.engines("sqlite", "postgresql")

ROOT: Final = Path(__file__).parents[2]
TOKEN: Final = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
ANOTHER_BOTS_TOKEN: Final = "1000002:CCHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"

RUNNER: Final = CliRunner()


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("arguments", [[], ["run"], ["migrate"]])
def test_a_missing_setting_ends_with_78_and_one_line(arguments: list[str]) -> None:
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 78
    assert result.stdout == ""
    assert result.stderr == (
        "starledger: TELEGRAM_BOT_TOKEN is missing: put the token that @BotFather gave you into .env\n"
    )


def test_migrate_makes_the_tables_and_is_repeatable(monkeypatch: pytest.MonkeyPatch, empty_database_url: str) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    for _ in range(2):
        result = RUNNER.invoke(app, ["migrate"])
        assert (result.exit_code, result.stdout, result.stderr) == (0, "The database is up to date.\n", "")


def test_the_default_database_is_made_below_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    assert RUNNER.invoke(app, ["migrate"]).exit_code == 0
    engine = create_engine(f"sqlite:///{tmp_path / 'data' / 'starledger.db'}")
    assert "stripe_events" in inspect(engine).get_table_names()
    engine.dispose()


def test_another_bots_database_ends_with_78_and_one_line(monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", ANOTHER_BOTS_TOKEN)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    result = RUNNER.invoke(app, ["migrate"])
    assert result.exit_code == 78
    assert result.stderr.startswith("starledger: the database belongs to the bot 1000001, and TELEGRAM_BOT_TOKEN is ")
    assert result.stderr.count("\n") == 1


@pytest.mark.criterion("S7")
@pytest.mark.criterion("E2")
def test_a_database_that_is_away_is_told_in_one_line_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://desk:hush-hush@127.0.0.1:1/desk")
    result = RUNNER.invoke(app, ["migrate"])
    assert result.exit_code == 1
    assert "the database does not answer: " in result.stderr
    assert result.stderr.count("\n") == 1
    assert "hush-hush" not in result.stderr


SENTENCES: Final = {
    "run": "Run the desk: sell, record, grant, refund, until a signal stops it.",
    "migrate": "Migrate the database. The daemon does so by itself at every start.",
    "pending": "List the payments, refunds and renewals that wait, the oldest first.",
    "retry": "Retry a payment, refund or renewal that waits. The running desk does it in seconds",
    "refund": "Refund a payment and end the access that it paid for, with a desk running or not.",
    "grant": "Grant access, with actor and reason on record. Only /status tells the person.",
    "revoke": "Revoke access, whatever gave it, with actor and reason on record.",
    "history": "Print a person's payments, refunds, grants and access.",
    "export": "Export the audit table, with a desk running or not. Amounts are in minor units.",
    "report": "Report revenue, renewals and refunds over time, by currency, of all channels.",
    "backup": "Copy the database in use; for PostgreSQL, print the pg_dump line that does so.",
    "doctor": "Examine everything that the desk needs, and print each fault and its mend.",
    "erase": "Erase a person: the name and every text go, the payments and the Telegram id stay.",
    "reconcile": "Compare Telegram's ledger with the desk's rows, with a desk running or not.",
    "rebuild": "Rebuild the database from Telegram's ledger, in silence: no message, no refund.",
}


def test_every_command_explains_itself() -> None:
    result = RUNNER.invoke(app, ["--help"])
    assert "Run the payment desk of a Telegram bot, or manage it from the outside." in " ".join(result.stdout.split())
    assert {command.callback.__name__ for command in app.registered_commands if command.callback} == SENTENCES.keys()
    for command, sentence in SENTENCES.items():
        result = RUNNER.invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert sentence in " ".join(result.stdout.split()), command


def start(directory: Path, *arguments: str, python_path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    (directory / ".env").write_text(f"TELEGRAM_BOT_TOKEN={TOKEN}\n", encoding="utf-8")
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *arguments],
        cwd=directory,
        env={"PYTHONPATH": f"{python_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["--help", "migrate"])
def test_help_and_migrate_import_neither_aiogram_nor_stripe(command: str, tmp_path: Path) -> None:
    process = start(tmp_path, "-X", "importtime", "-m", "bot", command)
    assert process.returncode == 0
    assert " sqlalchemy" in process.stderr, "the imports are listed"
    assert " aiogram" not in process.stderr
    assert " stripe" not in process.stderr
    assert " resvg" not in process.stderr


WITHOUT_TELEGRAM: Final = (
    ("migrate",),
    ("pending",),
    ("retry", "nothing"),
    ("grant", "5001", "premium", "--days", "1", "--reason", "a test"),
    ("revoke", "5001", "premium", "--reason", "a test"),
    ("history", "5001"),
    ("export",),
    ("report",),
    ("backup", "copy.db"),
    ("erase", "5001"),
)
EACH_OF_THEM: Final = """
import sys
from typer.testing import CliRunner
from bot.__main__ import app
for command in {commands}:
    result = CliRunner().invoke(app, list(command))
    print(command[0], result.exit_code, "aiogram" in sys.modules)
"""


def test_no_command_that_needs_no_telegram_imports_aiogram_on_its_way(tmp_path: Path) -> None:
    shutil.copy(ROOT / "catalog.example.toml", tmp_path / "catalog.toml")
    process = start(tmp_path, "-c", EACH_OF_THEM.format(commands=WITHOUT_TELEGRAM))
    assert process.stdout.splitlines() == [
        f"{command[0]} {1 if command[0] == 'retry' else 0} False" for command in WITHOUT_TELEGRAM
    ], process.stderr


@pytest.mark.criterion("S7")
@pytest.mark.criterion("O6")
def test_an_error_that_nobody_expected_is_logged_without_secrets(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "aiogram.py").write_text(f"raise LookupError('https://api.telegram.org/bot{TOKEN}/getMe')\n")
    process = start(tmp_path, "-m", "bot", python_path=broken)
    assert process.returncode == 1
    assert "stopped by an error that nobody expected" in process.stderr
    assert "LookupError: https://api.telegram.org/bot1000001:***/getMe" in process.stderr
    assert TOKEN not in process.stderr
    assert process.stdout == ""
