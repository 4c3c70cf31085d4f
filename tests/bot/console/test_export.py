import asyncio
import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

from payments.audit.export import FIELDS, read_rows
from payments.refunds import requests
from tests.support.commands import TOKEN, Commands
from tests.support.desk import Desk
from tests.support.money import BUYER, charge, refund
from tests.support.rows import add_other_services_event

pytestmark = pytest.mark.engines("sqlite", "postgresql")


async def _fill(desk: Desk) -> None:
    for number in range(5):
        await desk.take(charge(f"c{number}", at=desk.clock.advance(seconds=1)))
    # More of one moment than a batch.
    for number in range(5, 8):
        await desk.take(charge(f"c{number}"))
    await desk.request_refund("c4")
    await desk.take(refund(charge("c4"), at=desk.clock.advance(seconds=1)))
    async with desk.database.transaction() as session:
        user_id = await desk.user_id()
        for number in range(3):
            await add_other_services_event(session, f"theirs-{number}", user_id)


async def test_every_row_is_exported_once_in_batches(commands: Commands, desk: Desk) -> None:
    await _fill(desk)
    result = await commands.run("export")
    assert result.exit_code == 0
    assert result.stderr.endswith("12 rows.\n")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert tuple(rows[0]) == FIELDS
    batches = [batch async for batch in read_rows(desk.database, batch_rows=2)]
    assert max(map(len, batches)) == 2
    assert [row["event_id"] for batch in batches for row in batch] == [row["event_id"] for row in rows]
    assert {row["event_id"] for row in rows[:3]} == {"theirs-0", "theirs-1", "theirs-2"}
    assert [row["event_id"] for row in rows[3:7]] == ["c0", "c1", "c2", "c3"]
    assert {row["event_id"] for row in rows[7:]} == {"c4", "c5", "c6", "c7", "refund:c4"}
    first = rows[3]
    assert (first["amount_cents"], first["currency"], first["status"]) == ("200", "XTR", "1")
    assert (first["telegram_id"], first["created_at"]) == (str(BUYER.telegram_id), "2026-03-01T12:00:01Z")


async def test_json_lines_hold_the_same(commands: Commands, desk: Desk) -> None:
    await _fill(desk)
    file = commands.directory / "out.jsonl"
    result = await commands.run("export", str(file), "--format", "jsonl")
    assert (result.exit_code, result.stdout) == (0, "")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 12
    assert tuple(rows[0]) == FIELDS
    refunded = next(row for row in rows if row["event_id"] == "refund:c4")
    assert (refunded["amount_cents"], refunded["reason"], refunded["refund_of"]) == (200, "wrong plan", "c4")


@pytest.mark.engines("sqlite")
async def test_exported_reason_is_no_spreadsheet_formula(commands: Commands, desk: Desk) -> None:
    await desk.take(charge())
    async with desk.database.transaction() as session:
        await requests.request_refund(
            session, "charge-1", reason="=1+1", requested_by="x", reply_chat_id=None, now=desk.clock()
        )
    rows = list(csv.DictReader(io.StringIO(await commands.prints("export"))))
    assert [row["reason"] for row in rows if row["refund_of"]] == ["'=1+1"]


@pytest.mark.engines("sqlite")
async def test_a_file_that_cannot_be_written_is_told(commands: Commands, tmp_path: Path) -> None:
    result = await commands.run("export", str(tmp_path / "no" / "such" / "place"))
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in " ".join(result.stderr.split())


@pytest.mark.engines("sqlite")
async def test_closed_pipe_ends_an_export_without_a_word_on_the_database(commands: Commands, desk: Desk) -> None:
    await desk.take(charge())
    (commands.directory / ".env").write_text(f"TELEGRAM_BOT_TOKEN={TOKEN}\n")
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    export_ = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "export"), env=environment, stdout=writer, stderr=asyncio.subprocess.PIPE
    )
    os.close(writer)
    _, said = await export_.communicate()
    assert b"database" not in said
    assert export_.returncode == 1
