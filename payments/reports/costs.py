"""Selects the seller's costs in rows of Telegram's ledger: affiliates' commissions, ads, paid broadcasts, gifts.

| a row of `ledger_rows` | counts |
| --- | --- |
| a payment that a report counts, with an affiliate | its commission, for the plan sold |
| the refund of such a payment | the commission that came back |
| Stars that went out for anything but a sale or a withdrawal | a cost of the bot, without a plan |
| Stars that came back from ads or broadcasts | less cost |
| a sale of another program under the same token, and its refund | nothing |
"""

from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, literal, or_, select

from db.states import ORIGIN, STARS_CURRENCY, TELEGRAM_STARS, Direction, EventOutcome
from db.tables import LedgerEntry, StripeEvent
from db.utc_datetime import UtcDateTime
from payments.ledger.partners import (
    ADS_KIND,
    BROADCAST_KIND,
    INVOICE_KIND,
    PAID_MEDIA_KIND,
    WITHDRAWAL_KIND,
)
from payments.reports.counted import Claims

NO_COSTS: Final = (WITHDRAWAL_KIND, INVOICE_KIND, PAID_MEDIA_KIND)
"""Kinds of outgoing rows beside costs: the seller's own money, or a buyer's refund."""
RETURNING: Final = (ADS_KIND, BROADCAST_KIND)
"""Kinds of incoming rows by which Telegram sends costs back."""


def select_commissions(*, is_sqlite: bool) -> Select[Any]:
    """Select the affiliates' commissions by plan: `currency`, `channel`, `plan`, `commission`, `costs`.

    The parameters `since` and `until` (exclusive) are aware moments.
    """
    payload = func.coalesce(StripeEvent.payload, "")
    claims = Claims.on_sqlite(payload) if is_sqlite else Claims.on_postgresql(payload)
    is_ours = and_(
        StripeEvent.origin == ORIGIN, StripeEvent.outcome.is_distinct_from(EventOutcome.FOREIGN), claims.is_of_our_form
    )
    return (
        _select_cost_columns(
            claims.plan, commission=_net_sum(LedgerEntry.commission_nanostars, Direction.IN), costs=literal(0)
        )
        .join(StripeEvent, StripeEvent.event_id == LedgerEntry.charge_id)
        .where(LedgerEntry.commission_nanostars.is_not(None), _is_in_span(), is_ours)
        .group_by(claims.plan)
    )


def select_other_costs() -> Select[Any]:
    """Select the bot's costs other than commissions, in the same columns and with the same parameters."""
    is_cost = or_(
        and_(LedgerEntry.direction == Direction.OUT, LedgerEntry.kind.not_in(NO_COSTS)),
        and_(LedgerEntry.direction == Direction.IN, LedgerEntry.kind.in_(RETURNING)),
    )
    costs = _net_sum(LedgerEntry.amount_nanostars, Direction.OUT)
    query = _select_cost_columns(literal(""), commission=literal(0), costs=costs)
    return query.where(LedgerEntry.charge_id.is_(None), _is_in_span(), is_cost).having(func.count() > 0)


def _select_cost_columns(
    plan: ColumnElement[str], *, commission: ColumnElement[int], costs: ColumnElement[int]
) -> Select[Any]:
    """Select a report's columns of commissions and costs from the ledger's rows."""
    columns: list[ColumnElement[Any]] = [
        literal(STARS_CURRENCY).label("currency"),
        literal(TELEGRAM_STARS).label("channel"),
        plan.label("plan"),
        commission.label("commission"),
        costs.label("costs"),
    ]
    return select(*columns).select_from(LedgerEntry)


def _is_in_span() -> ColumnElement[bool]:
    """Return the condition that the cost in a ledger row is of the report's span."""
    since, until = bindparam("since", type_=UtcDateTime), bindparam("until", type_=UtcDateTime)
    return and_(LedgerEntry.happened_at >= since, LedgerEntry.happened_at < until)


def _net_sum(amount: Any, adding: Direction) -> ColumnElement[int]:
    """Return the sum of costs in ledger rows: the amounts of one direction less those of the other."""
    return func.sum(case((LedgerEntry.direction == adding, amount), else_=-amount))
