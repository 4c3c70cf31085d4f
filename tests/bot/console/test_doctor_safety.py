"""`doctor` on files and rows that others have touched; its output shows no secret."""

from pathlib import Path

import pytest
from sqlalchemy import text

from db.engine import Database
from db.private_files import make_private
from entitlements.unexplained import find_unexplained
from tests.support.commands import TOKEN, Commands
from tests.support.desk import Desk
from tests.support.money import charge

pytestmark = pytest.mark.engines("sqlite", "postgresql")

only_sqlite = pytest.mark.engines("sqlite")
SECRETS = (TOKEN, "1000002:CCHdqTcvCH1vGWJxfSeofSAs", "284685063:TEST:OGY4ZjZiNzk0", "sk_live" + "_51Qw9zKLm")


@only_sqlite
@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("setting", ["CATALOG_FILE", "TELEGRAM_API_URL", "ADMIN_IDS", "DATABASE_URL"])
async def test_a_token_in_the_wrong_setting_is_not_printed(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, setting: str, secret: str
) -> None:
    value = f"http://127.0.0.1:1/{secret}" if setting == "TELEGRAM_API_URL" else secret
    monkeypatch.setenv(setting, value)
    said = await commands.prints("doctor", status=1)
    assert secret.rpartition(":")[2] not in said


def _opened_to_all(directory: Path) -> Path:
    directory.chmod(0o755)
    [file] = directory.glob("*.sqlite")
    file.chmod(0o644)
    return file


def _closed(directory: Path) -> None:
    for file in directory.glob("*.sqlite*"):
        file.chmod(0o600)


@only_sqlite
async def test_a_database_that_others_can_read(commands: Commands) -> None:
    file = _opened_to_all(commands.directory)
    said = await commands.prints("doctor", status=1)
    assert f"warning  files: others on this machine can read {file}" in said
    _closed(commands.directory)
    assert "files:" not in await commands.prints("doctor", status=1)


def test_new_database_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "data" / "desk.db"
    make_private(file)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    file.write_text("kept")
    make_private(file)
    assert file.read_text() == "kept"


async def test_a_new_database_and_what_is_beside_it(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/data/desk.db")
    async with database.transaction() as session:
        await session.execute(text("CREATE TABLE t (a)"))
    modes = {each.name: each.stat().st_mode & 0o777 for each in (tmp_path / "data").iterdir()}
    await database.dispose()
    assert modes == {"desk.db": 0o600, "desk.db-wal": 0o600, "desk.db-shm": 0o600}


@pytest.mark.parametrize(
    ("change", "is_found"),
    [
        ("expires_at = expires_at", False),
        ("expires_at = '2050-01-01 00:00:00'", True),
        ("expires_at = NULL", True),
        ("expires_at = '2026-03-02 00:00:00'", False),
        ("entitlement_type = 'gold'", True),
    ],
)
async def test_a_row_of_access_that_no_grant_explains(desk: Desk, change: str, *, is_found: bool) -> None:
    await desk.take(charge())
    async with desk.database.transaction() as session:
        await session.execute(text(f"UPDATE entitlements SET {change}"))  # noqa: S608 - our own words
    async with desk.database.reading() as session:
        assert bool([each async for each in find_unexplained(session)]) is is_found
