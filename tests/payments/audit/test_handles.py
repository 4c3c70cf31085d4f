"""Event ids of any characters: their money is on record, and a typable command continues it."""

from dataclasses import replace
from typing import Final

import pytest

from bot.sending.notices import NoticeRenderer
from db.states import EventOutcome
from payments.audit.facts import refund_id
from payments.errors import RefundRefusal, RefundRefusedError
from payments.notices import Notice, is_typable
from payments.recording.recorder import Recorder
from payments.waiting import RetryResult
from tests.support.desk import Desk
from tests.support.money import ADMIN_CHAT_ID, ADMINS, charge, charge_update, refund, refund_update

ODD: Final = [
    "two words",
    "line\nbreak",
    "\u043a\u043b\u044e\u0447",
    "\U0001f642" * 500,
    "-x",
    "\u200b",
    " ",
    "e\u0301",
    "\u202eright to left",
]
PLAIN: Final = ["x" * 1024, "<b>&amp;</b>", "\"it's$HOME;`ls`", "quarantine:1", "renewal:charge-1", "[bold]", "%s{0}"]


def _ids(charge_id: str) -> str:
    return ascii(charge_id[:20])


@pytest.mark.criterion("C4", "R3", "O4")
@pytest.mark.parametrize("charge_id", ODD + PLAIN, ids=_ids)
async def test_a_parked_charge_has_commands_that_continue_it(desk: Desk, charge_id: str) -> None:
    paid = replace(charge(charge_id), amount=199)
    recorder = Recorder(desk.database, desk.clock, ADMINS, 10)
    assert (await recorder.record([charge_update(paid)]))[1] is not None
    parked = await desk.settle(charge_id)
    assert parked is not None
    assert parked.outcome == EventOutcome.PARKED
    name = charge_id if charge_id in PLAIN else parked.id
    [facts] = [facts for notice, _, facts in await desk.notices() if notice is Notice.PARKED]
    text = NoticeRenderer(desk.clock).render(Notice.PARKED, facts, "en")
    commands = [line.partition(": ")[2] for line in text.splitlines() if "/re" in line]
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;")
    escaped = escaped.replace("'", "&#39;")
    assert commands == [f"<code>/retry {escaped}</code>", f"<code>/refund {escaped}</code>"]
    assert await desk.retry(name) is RetryResult.BEGUN
    refunded = await desk.request_refund(name)
    assert (refunded.refund_of, refunded.event_id) == (charge_id, refund_id(charge_id))


@pytest.mark.criterion("R1", "R3")
@pytest.mark.parametrize("charge_id", ODD, ids=_ids)
async def test_a_refund_of_an_odd_id_is_known_by_its_rows_id_too(desk: Desk, charge_id: str) -> None:
    await desk.take(charge(charge_id))
    recorder = Recorder(desk.database, desk.clock, ADMINS, 10)
    assert (await recorder.record([refund_update(refund(charge(charge_id)))]))[2] is not None
    done = await desk.settle(refund_id(charge_id))
    assert done is not None
    with pytest.raises(RefundRefusedError) as refused:
        await desk.request_refund(done.id)
    assert refused.value.refusal is RefundRefusal.ALREADY_REFUNDED
    assert await desk.retry(done.id) is RetryResult.NOT_WAITING


@pytest.mark.criterion("E3")
@pytest.mark.parametrize("charge_id", ["", "x" * 1025, "\U0001f642" * 513], ids=_ids)
async def test_charge_with_an_impossible_id_goes_to_quarantine(desk: Desk, charge_id: str) -> None:
    recorder = Recorder(desk.database, desk.clock, ADMINS, 10)
    assert await recorder.record([charge_update(charge(charge_id))]) == {1: None}
    assert await desk.told() == [(Notice.QUARANTINED, ADMIN_CHAT_ID)]


def test_typable_id_is_one_word_and_no_option() -> None:
    assert all(map(is_typable, PLAIN))
    assert not any(map(is_typable, [*ODD, ""]))
