"""The command `report --close MONTH`: a month of Telegram's ledger to the nanostar, closed or not."""

import csv
import json
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Final, TextIO

import typer
from rich.console import Console

from bot.console.database import open_database
from bot.console.files import no_formula, written
from bot.console.printing import minute
from bot.console.report import STDOUT
from bot.settings import Settings
from db.states import Direction
from payments.ledger.nanostars import stars
from payments.ledger.partners import (
    ADS_KIND,
    AFFILIATE_KIND,
    BROADCAST_KIND,
    CHAT_KIND,
    FAILED,
    GIFT_KIND,
    INVOICE_KIND,
    PAID_MEDIA_KIND,
    PENDING,
    PREMIUM_KIND,
    TRANSFER_KIND,
    WITHDRAWAL_KIND,
)
from payments.reports.closing import Closing, Doubt, Movement, read_closing
from payments.reports.spans import Span, SpanError, Step

CLOSING_FIELDS: Final = ("month", "line", "direction", "kind", "count", "stars")
"""Columns of the CSV; documented in docs/operating.md."""

_MONTH: Final = re.compile(r"(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])")
_WORDS: Final = {
    (Direction.IN, INVOICE_KIND): "payments",
    (Direction.OUT, INVOICE_KIND): "payments given back",
    (Direction.IN, PAID_MEDIA_KIND): "paid media, or payments told as such",
    (Direction.OUT, PAID_MEDIA_KIND): "the same, given back",
    (Direction.IN, WITHDRAWAL_KIND): "withdrawals that came back, and deposits",
    (Direction.OUT, WITHDRAWAL_KIND): "withdrawals",
    (Direction.IN, AFFILIATE_KIND): "commissions earned",
    (Direction.OUT, ADS_KIND): "ads",
    (Direction.OUT, BROADCAST_KIND): "paid broadcasts",
    (Direction.OUT, GIFT_KIND): "gifts",
    (Direction.OUT, CHAT_KIND): "gifts to chats",
    (Direction.OUT, PREMIUM_KIND): "Premium for others",
    (Direction.IN, TRANSFER_KIND): "transfers from business accounts",
}


def asked_month(text: str) -> Span:
    """Return the days of a month to close, written as YYYY-MM. Raises typer.BadParameter when it is no month."""
    found = _MONTH.fullmatch(text)
    if found is None or int(found["year"]) == 0:
        raise typer.BadParameter(f"{text} is no month: write it as 2026-10", param_hint="--close")
    first = date(int(found["year"]), int(found["month"]), 1)
    try:
        return Span(first, date.fromordinal(Step.MONTH.after(first).toordinal() - 1))
    except (OverflowError, SpanError):
        raise typer.BadParameter(f"{text} is too far off", param_hint="--close") from None


async def close_month(
    settings: Settings, span: Span, csv_file: Path | None, console: Console, *, as_json: bool
) -> bool:
    """Print a month of the ledger, and write it as CSV on demand; False: it does not close, and the words say why.

    Nothing else goes to stdout beside CSV or JSON; the words then go to stderr. Raises typer.BadParameter for an
    unwritable file.
    """
    async with open_database(settings) as database:
        closing = await read_closing(database, span)
    if csv_file is not None:
        with nullcontext(sys.stdout) if csv_file == STDOUT else written(csv_file) as target:
            _write_csv(target, closing)
    if as_json:
        typer.echo(json.dumps(_as_json(closing)))
    elif csv_file != STDOUT:
        console.print(*_lines(closing), *_notes(closing), sep="\n")
    is_alone = as_json or csv_file == STDOUT
    for reason in _reasons(closing):
        if is_alone:
            typer.echo(reason, err=True)
        else:
            console.print(reason)
    return not closing.doubts


def _lines(closing: Closing) -> Iterator[str]:
    span = closing.span
    rows = [("opening", "", "", stars(closing.opening))]
    rows += [(each.direction, _named(each), str(each.count), stars(_signed(each))) for each in closing.movements]
    rows += [
        ("closing", "", "", stars(closing.closing)),
    ]
    if closing.after:
        rows.append(("later", "what came and went since", "", stars(closing.after)))
    rows.append(("all rows", "", "", stars(closing.closing + closing.after)))
    if closing.balance is not None and closing.compared_at is not None:
        rows.append(("balance", f"as Telegram said {minute(closing.compared_at)}", "", stars(closing.balance)))
    yield f"Stars, {span.first} to {span.last}, UTC"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, what, count, amount in rows:
        yield "  ".join(
            (name.ljust(widths[0]), what.ljust(widths[1]), count.rjust(widths[2]), amount.rjust(widths[3]))
        ).rstrip()


def _notes(closing: Closing) -> Iterator[str]:
    commission = sum(
        each.commission_nanostars * (1 if each.direction == Direction.IN else -1) for each in closing.movements
    )
    if commission:
        yield f"Affiliates had {stars(commission)} Stars of the payments."
    for each in closing.withdrawals:
        kind = (
            f"withdrawal, {each.state or 'no state'}" if each.direction == Direction.OUT else "came back or deposited"
        )
        yield f"{minute(each.happened_at)}  {stars(each.nanostars)} Stars  {kind}  {each.id}"
    states = {
        state: sum(each.nanostars for each in closing.withdrawals if each.state == state) for state in (PENDING, FAILED)
    }
    if states[PENDING]:
        yield f"{stars(states[PENDING])} Stars of withdrawals are pending: out of the balance, and not paid out yet."
    back = sum(each.nanostars for each in closing.withdrawals if each.direction == Direction.IN)
    if states[FAILED] > back:
        yield f"{stars(states[FAILED] - back)} Stars of failed withdrawals did not come back within the month."
    if closing.set_aside:
        yield f"{closing.set_aside} rows of the ledger could not be kept: they stand raw in the table quarantine."


def _reasons(closing: Closing) -> list[str]:
    """Return a sentence for each doubt about a month, with its mend; or the one that the month is closed."""
    doubts = closing.doubts
    month = f"{closing.span.first:%Y-%m}"
    if not doubts:
        return [f"{month} is closed: all rows add up to Telegram's balance."]
    kept = closing.closing + closing.after
    compared = "" if closing.compared_at is None else minute(closing.compared_at)
    words = {
        Doubt.PASS_WANTED: "a pass over Telegram's whole ledger is not complete: start the desk, or run `rebuild`.",
        Doubt.NOT_READ: "Telegram's ledger was not compared to its end yet: run `reconcile`.",
        Doubt.NOT_OVER: f"the ledger was last compared {compared}, before its end: run `reconcile` after it.",
        Doubt.STILL_READING: "rows were read since the last whole comparison: run `reconcile`.",
        Doubt.NOT_KEPT: f"the rows on record make {stars(kept)} Stars, those that were read {stars(closing.read)}: "
        "run `reconcile --full`; what stays is in the table quarantine.",
        Doubt.NO_BALANCE: "the Bot API server does not tell the balance: it is older than Bot API 9.1.",
        Doubt.BALANCE_OFF: f"Telegram's balance is {stars(closing.balance_off)} Stars more than all rows: "
        "run `reconcile --full`.",
    }
    return [f"{month} is not closed: {words[doubt]}" for doubt in doubts]


def _named(movement: Movement) -> str:
    """Name a movement of a month: in our words, or by Telegram's kind where we have none."""
    return _WORDS.get((Direction(movement.direction), movement.kind), movement.kind)


def _signed(movement: Movement) -> int:
    return movement.nanostars if movement.direction == Direction.IN else -movement.nanostars


def _write_csv(target: TextIO, closing: Closing) -> None:
    month = f"{closing.span.first:%Y-%m}"
    writer = csv.writer(target)
    writer.writerow(CLOSING_FIELDS)
    writer.writerow((month, "opening", "", "", "", stars(closing.opening)))
    for each in closing.movements:
        line = (month, "movement", each.direction, no_formula(each.kind), each.count, stars(_signed(each)))
        writer.writerow(line)
    for each in closing.movements:
        if each.commission_nanostars:
            commission = stars(
                -each.commission_nanostars if each.direction == Direction.IN else each.commission_nanostars
            )
            writer.writerow((month, "commission", each.direction, no_formula(each.kind), each.count, commission))
    writer.writerow((month, "closing", "", "", "", stars(closing.closing)))
    writer.writerow((month, "later", "", "", "", stars(closing.after)))
    writer.writerow((month, "balance", "", "", "", "" if closing.balance is None else stars(closing.balance)))


def _as_json(closing: Closing) -> dict[str, object]:
    return {
        "month": f"{closing.span.first:%Y-%m}",
        "is_closed": not closing.doubts,
        "doubts": closing.doubts,
        "opening_nanostars": closing.opening,
        "movements": [
            {
                "direction": each.direction,
                "kind": each.kind,
                "count": each.count,
                "nanostars": each.nanostars,
                "commission_nanostars": each.commission_nanostars,
            }
            for each in closing.movements
        ],
        "closing_nanostars": closing.closing,
        "later_nanostars": closing.after,
        "balance_nanostars": closing.balance,
        "balance_off_nanostars": closing.balance_off,
        "compared_at": None if closing.compared_at is None else closing.compared_at.isoformat(),
        "withdrawals": [
            {
                "id": each.id,
                "direction": each.direction,
                "happened_at": each.happened_at.isoformat(),
                "state": each.state,
                "nanostars": each.nanostars,
            }
            for each in closing.withdrawals
        ],
        "set_aside": closing.set_aside,
    }
