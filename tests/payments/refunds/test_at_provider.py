"""The refund row that matches a refund at the provider: the same at every call."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from db.states import EventStatus
from db.tables import StripeEvent
from payments.channel import MadeRefund
from payments.refunds.at_provider import part_of
from tests.support.clock import START

CHARGE: Final = StripeEvent(event_id="stripe:ch_1", amount_cents=499)
WHOLE: Final = "refund:stripe:ch_1"
LATER: Final = START + timedelta(days=1)
MADE: Final = MadeRefund("re_1", 499, "USD", START, row=None, is_through=True)
PART: Final = replace(MADE, amount=100)


def row(event_id: str = WHOLE, amount: int = 499, **state: object) -> StripeEvent:
    return StripeEvent(event_id=event_id, amount_cents=amount, **{"status": EventStatus.PENDING} | state)


@pytest.mark.parametrize(
    ("refund", "known", "part"),
    [
        (MADE, [], None),
        (PART, [], "re_1"),
        (MADE, [row()], None),
        (MADE, [row(status=EventStatus.FAILED)], None),
        # Asked for after a part: it is of less.
        (MADE, [row(amount=399)], "re_1"),
        (replace(PART, amount=399), [row(amount=399)], "re_1"),
        # It has told of it before.
        (MADE, [row(webhook_timestamp=START)], None),
        (replace(PART, amount=399), [row(amount=399, webhook_timestamp=START)], None),
        (MADE, [row(webhook_timestamp=LATER)], "re_1"),
        (PART, [row(webhook_timestamp=START)], "re_1"),
        # Made by us, and not told of yet: the one of ours names its row.
        (MADE, [row(status=EventStatus.PROCESSED)], "re_1"),
        (replace(MADE, row=WHOLE), [row(status=EventStatus.PROCESSED)], None),
        (replace(MADE, row=f"{WHOLE}:a-b"), [row(status=EventStatus.PROCESSED), row(f"{WHOLE}:a-b")], "a-b"),
        (replace(MADE, row=f"{WHOLE}:a-b"), [row(webhook_timestamp=LATER)], "re_1"),
        # A refund with a row by its own id keeps that row, whatever was opened since.
        (MADE, [row(), row(f"{WHOLE}:re_1")], "re_1"),
        (replace(MADE, row=WHOLE), [row(), row(f"{WHOLE}:re_1")], "re_1"),
    ],
)
def test_refund_at_the_provider_finds_its_row(refund: MadeRefund, known: list[StripeEvent], part: str | None) -> None:
    assert part_of(refund, CHARGE, known) == part
