import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from loguru import logger

from bot.monitoring import logs
from bot.monitoring.systemd import is_journal, prioritised


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """Give a stream that systemd has named as its journal's."""
    with (tmp_path / "journal").open("w+", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        yield stream


@pytest.mark.parametrize(
    ("level", "priority"), [("DEBUG", 7), ("INFO", 6), ("SUCCESS", 6), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 2)]
)
def test_a_line_has_its_priority(journal: TextIO, level: str, priority: int) -> None:
    logs.configure("DEBUG", "json", stream=journal)
    logger.log(level, "said")
    journal.seek(0)
    assert journal.read().startswith(f"<{priority}>{{")


def test_every_line_of_a_traceback_has_it(journal: TextIO) -> None:
    logs.configure("INFO", "text", stream=journal)
    logging.getLogger("library").error("failed", exc_info=OSError("away"))
    journal.seek(0)
    lines = journal.read().splitlines()
    assert len(lines) > 1
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.usefixtures("journal")
def test_another_stream_of_the_same_process_is_left_as_it_is(tmp_path: Path) -> None:
    with (tmp_path / "elsewhere").open("w") as elsewhere:
        assert not is_journal(elsewhere)
    assert not is_journal(io.StringIO())


def test_failed_start_is_an_error_in_the_journal(journal: TextIO, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "JOURNAL_STREAM": os.environ["JOURNAL_STREAM"]}
    ended = subprocess.run([sys.executable, "-m", "bot"], cwd=tmp_path, env=environment, stderr=journal, check=False)
    journal.seek(0)
    assert ended.returncode == 78
    assert journal.read().startswith("<3>starledger: TELEGRAM_BOT_TOKEN is missing")


def test_the_lines_of_a_text_are_kept() -> None:
    assert prioritised("one\n\ntwo", logging.WARNING) == "<4>one\n<4>\n<4>two"
