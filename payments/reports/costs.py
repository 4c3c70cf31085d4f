"""What the rows of Telegram's ledger cost the seller: commissions of affiliates, ads, paid broadcasts, gifts.

| a row of `ledger_rows` | counts |
| --- | --- |
| a payment that a report counts, with an affiliate | its commission, for the plan that was sold |
| the refund of one | the commission that came back |
| Stars that went out for no sale and no withdrawal | a cost of the bot, of no plan |
| Stars that came back from ads or broadcasts | so much less |
| a sale of another program under the same token, and its refund | not |
"""

from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, literal, or_, select

from db.states import Direction, Outcome
from db.tables import ORIGIN, STARS_CURRENCY, TELEGRAM_STARS, LedgerEntry, StripeEvent
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
"""What goes out as these is the seller's own money, or goes back to a buyer."""
RETURNING: Final = (ADS_KIND, BROADCAST_KIND)
"""What comes in as these was paid for nothing."""


def commissions(*, is_sqlite: bool) -> Select[Any]:
    """Select by plan what affiliates received: `currency`, `channel`, `plan`, `commission`, `costs`.

    The parameters `since` and `until`, which is no longer part of it, are aware moments.
    """
    payload = func.coalesce(StripeEvent.payload, "")
    claims = Claims.on_sqlite(payload) if is_sqlite else Claims.on_postgresql(payload)
    is_ours = and_(
        StripeEvent.origin == ORIGIN, StripeEvent.outcome.is_distinct_from(Outcome.FOREIGN), claims.is_of_our_form
    )
    return (
        _source(claims.plan, commission=_sum(LedgerEntry.commission_nanostars, Direction.IN), costs=literal(0))
        .join(StripeEvent, StripeEvent.event_id == LedgerEntry.charge_id)
        .where(LedgerEntry.commission_nanostars.is_not(None), _is_within(), is_ours)
        .group_by(claims.plan)
    )


def other_costs() -> Select[Any]:
    """Select what the bot's Stars went for beside, in the same columns and with the same parameters."""
    is_cost = or_(
        and_(LedgerEntry.direction == Direction.OUT, LedgerEntry.kind.not_in(NO_COSTS)),
        and_(LedgerEntry.direction == Direction.IN, LedgerEntry.kind.in_(RETURNING)),
    )
    costs = _sum(LedgerEntry.amount_nanostars, Direction.OUT)
    query = _source(literal(""), commission=literal(0), costs=costs)
    return query.where(LedgerEntry.charge_id.is_(None), _is_within(), is_cost).having(func.count() > 0)


def _source(plan: ColumnElement[str], *, commission: ColumnElement[int], costs: ColumnElement[int]) -> Select[Any]:
    columns: list[ColumnElement[Any]] = [
        literal(STARS_CURRENCY).label("currency"),
        literal(TELEGRAM_STARS).label("channel"),
        plan.label("plan"),
        commission.label("commission"),
        costs.label("costs"),
    ]
    return select(*columns).select_from(LedgerEntry)


def _is_within() -> ColumnElement[bool]:
    since, until = bindparam("since", type_=UtcDateTime), bindparam("until", type_=UtcDateTime)
    return and_(LedgerEntry.happened_at >= since, LedgerEntry.happened_at < until)


def _sum(amount: Any, adding: Direction) -> ColumnElement[int]:
    """Add up the rows of a direction, less those of the other one."""
    return func.sum(case((LedgerEntry.direction == adding, amount), else_=-amount))
