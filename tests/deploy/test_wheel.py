"""The wheel, installed as a user would install it, beside the libraries that are here."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Final

import pytest

from bot import __version__

ROOT: Final = Path(__file__).parents[2]
PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command without the network, and return what it prints."""
    ended = subprocess.run(  # noqa: S603 - our own program, and pip
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, ROOT, cwd=directory)
    (wheel,) = directory.glob("starledger-*.whl")
    return wheel


@pytest.fixture(scope="module")
def starledger(wheel: Path) -> Path:
    """Give the command that comes of installing the wheel in an empty environment."""
    directory = wheel.parent
    venv.create(directory / "venv", with_pip=False)
    python = directory / "venv" / "bin" / "python"
    run(*PIP[:3], "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=directory)
    # The libraries are those of this environment; of the program there is nothing but the wheel.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=directory).strip()
    (Path(site) / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return python.with_name("starledger")


def test_the_command_is_there_and_says_its_version(starledger: Path, tmp_path: Path) -> None:
    assert run(starledger, "--version", cwd=tmp_path) == f"starledger {__version__}\n"


def test_the_migrations_are_inside(starledger: Path, tmp_path: Path) -> None:
    token = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
    assert run(starledger, "migrate", cwd=tmp_path, TELEGRAM_BOT_TOKEN=token) == "The database is up to date.\n"
    assert (tmp_path / "data" / "starledger.db").exists()


def test_the_words_are_inside_and_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "bot/locales/en/LC_MESSAGES/starledger.mo" in names
    assert {name.partition("/")[0] for name in names if not name.startswith("starledger-")} == {
        "bot",
        "payments",
        "entitlements",
        "db",
        "sandbox",
    }
