"""The desk's wheel and the sandbox's, installed as a user installs them, beside this machine's libraries."""

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
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder with both wheels."""
    directory = tmp_path_factory.mktemp("wheels")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", directory)
    run(*PIP, *build, ROOT, ROOT / "sandbox", cwd=directory)
    assert len(list(directory.iterdir())) == 2
    return directory


@pytest.fixture(scope="module")
def desk_wheel(wheels: Path) -> Path:
    (wheel,) = wheels.glob("starledger-*.whl")
    return wheel


@pytest.fixture(scope="module")
def sandbox_wheel(wheels: Path) -> Path:
    (wheel,) = wheels.glob("starledger_sandbox-*.whl")
    return wheel


def install(wheel: Path, directory: Path) -> Path:
    """Install a wheel alone in an empty environment; return the folder of its commands."""
    venv.create(directory, with_pip=False)
    commands = directory / "bin"
    python = commands / "python"
    run(*PIP[:3], "--python", python, "install", "--quiet", "--no-deps", wheel, cwd=directory)
    # The libraries are those of this environment; of the program there is nothing but the wheel.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=directory).strip()
    (Path(site) / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return commands


@pytest.fixture(scope="module")
def starledger(desk_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the command that the desk's wheel installs."""
    return install(desk_wheel, tmp_path_factory.mktemp("desk")) / "starledger"


def files(wheel: Path) -> set[str]:
    """Return the names of a wheel's files, without those that describe it."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_command_is_there_and_says_its_version(starledger: Path, tmp_path: Path) -> None:
    assert run(starledger, "--version", cwd=tmp_path) == f"starledger {__version__}\n"


def test_the_migrations_are_inside(starledger: Path, tmp_path: Path) -> None:
    token = "1000001:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"
    assert run(starledger, "migrate", cwd=tmp_path, TELEGRAM_BOT_TOKEN=token) == "The database is up to date.\n"
    assert (tmp_path / "data" / "starledger.db").exists()


def test_the_desks_wheel_has_the_compiled_texts_and_neither_tests_nor_sandbox(desk_wheel: Path) -> None:
    names = files(desk_wheel)
    assert "bot/locales/en/LC_MESSAGES/starledger.mo" in names
    assert {name.partition("/")[0] for name in names} == {"bot", "payments", "entitlements", "db"}


def test_the_sandboxs_wheel_has_the_page_and_no_demo_of_a_checkout(sandbox_wheel: Path) -> None:
    names = files(sandbox_wheel)
    assert "sandbox/page/style.css" in names
    assert "sandbox/demo.py" not in names
    assert {name.partition("/")[0] for name in names} == {"sandbox"}
    assert sandbox_wheel.name.split("-")[1] == __version__


def test_the_sandboxs_wheel_runs_without_the_desk(sandbox_wheel: Path, tmp_path: Path) -> None:
    commands = install(sandbox_wheel, tmp_path)
    assert "a Bot API server with Stars in it" in run(commands / "starledger-sandbox", "--help", cwd=tmp_path)
    run(commands / "python", "-c", "import sandbox.server, sandbox.page.serving", cwd=tmp_path)


def test_a_server_gets_the_desks_wheel_alone() -> None:
    """`pip install .` in deploy/install.sh takes the root's pyproject.toml."""
    installs = [
        line for line in (ROOT / "deploy" / "install.sh").read_text(encoding="utf-8").splitlines() if 'pip"' in line
    ]
    assert [line.rsplit(maxsplit=1)[-1] for line in installs] == ["requirements/build.txt", "."]
    assert not any(
        "nicegui" in line for line in (ROOT / "requirements" / "runtime.txt").read_text("utf-8").splitlines()
    )
