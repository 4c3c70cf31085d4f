"""The systemd unit, as systemd itself reads it."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from bot.console.command_line.exit_status import EXIT_WRONG_SETTING
from db.timings import PRODUCTION

ROOT: Final = Path(__file__).parents[2]
UNIT: Final = ROOT / "deploy" / "starledger.service"
EXPOSURE_MAX: Final = 2.0

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(UNIT, encoding="utf-8")
    return parser["Service"]


@needs_systemd
def test_the_unit_is_hardened() -> None:
    analysed = subprocess.run(  # noqa: S603 - systemd's own program
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)],  # noqa: S607 - found above
        capture_output=True,
        text=True,
        check=True,
    )
    exposure = re.search(r"Overall exposure level for starledger\.service: ([\d.]+)", analysed.stdout)
    assert exposure is not None, analysed.stdout
    assert float(exposure[1]) < EXPOSURE_MAX


def test_a_wrong_setting_is_not_started_again_and_again() -> None:
    assert unit()["Restart"] == "always"
    assert unit()["RestartPreventExitStatus"] == str(EXIT_WRONG_SETTING)


def test_systemd_waits_for_the_end_as_long_as_it_may_take() -> None:
    assert int(unit()["TimeoutStopSec"]) > PRODUCTION.end_seconds


def test_systemd_is_told_by_the_desk_that_it_is_ready_and_lives() -> None:
    assert (unit()["Type"], unit()["NotifyAccess"]) == ("notify", "main")
    assert int(unit()["WatchdogSec"]) > 0


@pytest.mark.parametrize("script", sorted((ROOT / "deploy").glob("*.sh")), ids=lambda path: path.name)
def test_a_script_is_one_that_the_shell_can_read(script: Path) -> None:
    subprocess.run(["/bin/sh", "-n", str(script)], check=True)  # noqa: S603 - our own script
    assert script.stat().st_mode & 0o111


def test_release_is_tried_as_its_user_before_the_switch() -> None:
    script = (ROOT / "deploy" / "install.sh").read_text(encoding="utf-8")
    order = [
        "umask 022",
        "-m venv",
        'runuser -u starledger -- "$release/bin/starledger" --help',
        "runuser -u starledger -- \"$release/bin/python\" -I -c 'import bot.desk.app'",
        "trap - EXIT",
        "mv -T $home/next $home/current",
    ]
    assert sorted(order, key=script.index) == order
