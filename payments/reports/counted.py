"""Selects the rows of `stripe_events` that a report counts, each with its kind.

| a row of ours | counts |
| --- | --- |
| a charge | as revenue from its recording on, parked or with a refund under way as well |
| a refund, a partial refund, a lost dispute | as refunded, once its provider has made it |
| a refund that returned to the seller | the other way |
| a refund that the remainder's refund has replaced | nothing |
| a charge that another program sold under the same token, or a refund of it | nothing |

A row of another service counts once its status is 1 and it has an amount. The end of its type makes it a refund or a
returned refund; a type that ends in "failed" counts nothing; any other is a charge. A row's date is
`webhook_timestamp`, without that `created_at`, without either `processed_at`.
"""

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, exists, func, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from db.states import ORIGIN, EventOutcome, EventStatus
from db.tables import StripeEvent, Subscription
from db.utc_datetime import UtcDateTime
from payments.methods import REFUND_ENDINGS, RETURN_ENDING
from payments.sale.payload import CODE_PATTERN, OUR_FORM_BEGINS, SUBSCRIPTION_TERM

FAILED_ENDING: Final = "failed"
_SEPARATOR: Final = ":"


class Kind(enum.StrEnum):
    """The kind under which a report counts a row."""

    PURCHASE = "purchase"
    NEW_SUBSCRIPTION = "new_subscription"
    RENEWAL = "renewal"
    REFUND = "refund"
    RETURN = "return"
    """A refund that returned to the seller."""


CHARGES: Final = (Kind.PURCHASE, Kind.NEW_SUBSCRIPTION, Kind.RENEWAL)


def select_counted_rows(*, is_sqlite: bool) -> Select[Any]:
    """Select the rows that a report counts: `currency`, `channel`, `plan` (may be empty), `kind`, `amount`, `user_id`.

    The parameters `since` and `until` (exclusive) are aware moments.
    """
    charge = aliased(StripeEvent, name="charge")
    payload = func.coalesce(StripeEvent.payload, charge.payload)
    claims = Claims.on_sqlite(payload) if is_sqlite else Claims.on_postgresql(payload)
    # A refund replaces the outcome of a foreign charge; from then on the payload alone shows that it is foreign.
    is_foreign = or_(StripeEvent.outcome == EventOutcome.FOREIGN, not_(claims.is_of_our_form))
    counts = or_(and_(_COUNTS_OF_OURS, func.coalesce(not_(is_foreign), True)), _COUNTS_OF_OTHERS)
    return (
        select(
            func.upper(StripeEvent.currency).label("currency"),
            StripeEvent.payment_method.label("channel"),
            claims.plan.label("plan"),
            _counted_kind(claims).label("kind"),
            StripeEvent.amount_cents.label("amount"),
            StripeEvent.customer_id.label("user_id"),
        )
        .outerjoin(charge, charge.event_id == StripeEvent.refund_of)
        .where(_IN_SPAN, counts)
    )


def _has_type(*endings: str) -> ColumnElement[bool]:
    """Return the condition that the type of a counted row ends in one of these words."""
    return or_(*(StripeEvent.event_type.endswith(ending, autoescape=True) for ending in endings))


def _is_in_span(moment: InstrumentedAttribute[datetime | None]) -> ColumnElement[bool]:
    """Return the condition that this date of a counted row is within the report's span."""
    since, until = bindparam("since", type_=UtcDateTime), bindparam("until", type_=UtcDateTime)
    return and_(moment >= since, moment < until)


_TOLD, _RECORDED, _SETTLED = StripeEvent.webhook_timestamp, StripeEvent.created_at, StripeEvent.processed_at
# One condition for each date column lets the database use their indexes.
_IN_SPAN: Final = or_(
    _is_in_span(_TOLD),
    and_(_TOLD.is_(None), _is_in_span(_RECORDED)),
    and_(_TOLD.is_(None), _RECORDED.is_(None), _is_in_span(_SETTLED)),
)
_IS_RETURN: Final = _has_type(RETURN_ENDING)
_IS_REFUND: Final = or_(StripeEvent.refund_of.is_not(None), _has_type(*REFUND_ENDINGS))
_IS_PROCESSED: Final = StripeEvent.status == EventStatus.PROCESSED
_COUNTS_OF_OURS: Final = and_(
    StripeEvent.origin == ORIGIN,
    or_(StripeEvent.refund_of.is_(None), StripeEvent.webhook_timestamp.is_not(None), _IS_PROCESSED),
    StripeEvent.outcome.is_distinct_from(EventOutcome.REPLACED),
)
_COUNTS_OF_OTHERS: Final = and_(
    StripeEvent.origin.is_distinct_from(ORIGIN),
    _IS_PROCESSED,
    StripeEvent.amount_cents > 0,
    or_(_IS_RETURN, _IS_REFUND, not_(_has_type(FAILED_ENDING))),
)


@dataclass(frozen=True, slots=True)
class Claims:
    """Columns read from a report's payloads: our form or not, the plan's code or empty, a subscription or not."""

    is_of_our_form: ColumnElement[bool]
    plan: ColumnElement[str]
    is_subscription: ColumnElement[bool]

    @classmethod
    def on_postgresql(cls, payload: ColumnElement[str]) -> Self:
        """Read the claims in counted rows' payloads with PostgreSQL's functions."""
        plan, term = (func.split_part(payload, _SEPARATOR, number) for number in (2, 3))
        is_code = plan.regexp_match(rf"^{CODE_PATTERN}$")
        is_of_our_form = payload.regexp_match(f"^{OUR_FORM_BEGINS}")
        return cls(is_of_our_form, case((is_code, plan), else_=""), term == SUBSCRIPTION_TERM)

    @classmethod
    def on_sqlite(cls, payload: ColumnElement[str]) -> Self:
        """Read the claims in counted rows' payloads with SQLite's functions."""
        _, after_form = _split_payload(payload)
        plan, after_plan = _split_payload(after_form)
        term, _ = _split_payload(after_plan)
        is_code = and_(func.length(plan).between(1, 20), not_(plan.bool_op("GLOB")("*[^a-z0-9_]*")))
        is_of_our_form = or_(*(payload.bool_op("GLOB")(f"sl{'[0-9]' * digits}:*") for digits in (1, 2, 3)))
        return cls(is_of_our_form, case((is_code, plan), else_=""), term == SUBSCRIPTION_TERM)


def _split_payload(text: ColumnElement[str]) -> tuple[ColumnElement[str], ColumnElement[str]]:
    """Split a payload in SQLite at its first separator; a payload without one is all after it."""
    place = func.instr(text, _SEPARATOR)
    return func.substr(text, 1, place - 1), func.substr(text, place + 1)


def _counted_kind(claims: Claims) -> ColumnElement[str]:
    """Return the column with the kind under which a report counts a row."""
    is_subscription = func.coalesce(StripeEvent.is_recurring, claims.is_subscription)
    # The ledger leaves open which charge is the first; the subscription's row, made from all of them, names it.
    begins = exists().where(Subscription.first_charge_id == StripeEvent.event_id)
    is_first = func.coalesce(StripeEvent.is_first_recurring, begins)
    return case(
        (_IS_RETURN, Kind.RETURN),
        (_IS_REFUND, Kind.REFUND),
        (and_(is_subscription, is_first), Kind.NEW_SUBSCRIPTION),
        (is_subscription, Kind.RENEWAL),
        else_=Kind.PURCHASE,
    )
