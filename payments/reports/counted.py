"""Which rows of `stripe_events` a report counts, and as what.

| a row of ours | counts |
| --- | --- |
| a charge | as taken from when it is on record, also while it is parked or on its way back |
| a refund, a part of one, a lost dispute | as given back once its provider has it, not while it is asked for |
| a refund that came back to the seller | the other way |
| a refund that was replaced | not |
| a charge that another program sold under the same token, or a refund of it | not |

A row of another service counts once its status is 1: by the end of its type as given back or come back; not at all when
the type says that it failed; else as a charge. One without an amount is no payment. A row is dated by
`webhook_timestamp`, without that by `created_at`, without either by `processed_at`.
"""

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, exists, func, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from db.tables import ORIGIN, EventStatus, Outcome, StripeEvent, Subscription
from db.utc_datetime import UtcDateTime
from payments.methods import REFUND_ENDINGS, RETURN_ENDING
from payments.sale.payload import CODE_PATTERN, OUR_FORM_BEGINS, SUBSCRIPTION_TERM

FAILED_ENDING: Final = "failed"
_SEPARATOR: Final = ":"


class Kind(enum.StrEnum):
    """What a row counts as."""

    PURCHASE = "purchase"
    NEW_SUBSCRIPTION = "new_subscription"
    RENEWAL = "renewal"
    REFUND = "refund"
    RETURN = "return"
    """A refund that came back."""


CHARGES: Final = (Kind.PURCHASE, Kind.NEW_SUBSCRIPTION, Kind.RENEWAL)


def counted(*, is_sqlite: bool) -> Select[Any]:
    """Select what counts: `currency`, `channel`, `plan` (or nothing), `kind`, `amount`, `user_id`.

    The parameters `since` and `until`, which is no longer part of it, are aware moments.
    """
    charge = aliased(StripeEvent, name="charge")
    payload = func.coalesce(StripeEvent.payload, charge.payload)
    claims = Claims.on_sqlite(payload) if is_sqlite else Claims.on_postgresql(payload)
    # Once a foreign charge was refunded, its payload alone tells whose it was.
    is_foreign = or_(StripeEvent.outcome == Outcome.FOREIGN, not_(claims.is_of_our_form))
    counts = or_(and_(_COUNTS_OF_OURS, func.coalesce(not_(is_foreign), True)), _COUNTS_OF_OTHERS)
    return (
        select(
            func.upper(StripeEvent.currency).label("currency"),
            StripeEvent.payment_method.label("channel"),
            claims.plan.label("plan"),
            _kind(claims).label("kind"),
            StripeEvent.amount_cents.label("amount"),
            StripeEvent.customer_id.label("user_id"),
        )
        .outerjoin(charge, charge.event_id == StripeEvent.refund_of)
        .where(_HAPPENED, counts)
    )


def _has_type(*endings: str) -> ColumnElement[bool]:
    return or_(*(StripeEvent.event_type.endswith(ending, autoescape=True) for ending in endings))


def _is_within(moment: InstrumentedAttribute[datetime | None]) -> ColumnElement[bool]:
    since, until = bindparam("since", type_=UtcDateTime), bindparam("until", type_=UtcDateTime)
    return and_(moment >= since, moment < until)


_TOLD, _RECORDED, _SETTLED = StripeEvent.webhook_timestamp, StripeEvent.created_at, StripeEvent.processed_at
# A condition for each column, and not one for what the three come to, so that their indexes are used.
_HAPPENED: Final = or_(
    _is_within(_TOLD),
    and_(_TOLD.is_(None), _is_within(_RECORDED)),
    and_(_TOLD.is_(None), _RECORDED.is_(None), _is_within(_SETTLED)),
)
_IS_RETURN: Final = _has_type(RETURN_ENDING)
_IS_REFUND: Final = or_(StripeEvent.refund_of.is_not(None), _has_type(*REFUND_ENDINGS))
_IS_PROCESSED: Final = StripeEvent.status == EventStatus.PROCESSED
_COUNTS_OF_OURS: Final = and_(
    StripeEvent.origin == ORIGIN,
    or_(StripeEvent.refund_of.is_(None), StripeEvent.webhook_timestamp.is_not(None), _IS_PROCESSED),
    StripeEvent.outcome.is_distinct_from(Outcome.REPLACED),
)
_COUNTS_OF_OTHERS: Final = and_(
    StripeEvent.origin.is_distinct_from(ORIGIN),
    _IS_PROCESSED,
    StripeEvent.amount_cents > 0,
    or_(_IS_RETURN, _IS_REFUND, not_(_has_type(FAILED_ENDING))),
)


@dataclass(frozen=True, slots=True)
class Claims:
    """Of a column of payloads: whether they are of our form, the plan's code or nothing, and whether it renews."""

    is_of_our_form: ColumnElement[bool]
    plan: ColumnElement[str]
    is_subscription: ColumnElement[bool]

    @classmethod
    def on_postgresql(cls, payload: ColumnElement[str]) -> Self:
        """Read them as PostgreSQL can."""
        plan, term = (func.split_part(payload, _SEPARATOR, number) for number in (2, 3))
        is_code = plan.regexp_match(rf"^{CODE_PATTERN}$")
        is_of_our_form = payload.regexp_match(f"^{OUR_FORM_BEGINS}")
        return cls(is_of_our_form, case((is_code, plan), else_=""), term == SUBSCRIPTION_TERM)

    @classmethod
    def on_sqlite(cls, payload: ColumnElement[str]) -> Self:
        """Read them as SQLite can."""
        _, after_form = _split(payload)
        plan, after_plan = _split(after_form)
        term, _ = _split(after_plan)
        is_code = and_(func.length(plan).between(1, 20), not_(plan.bool_op("GLOB")("*[^a-z0-9_]*")))
        is_of_our_form = or_(*(payload.bool_op("GLOB")(f"sl{'[0-9]' * digits}:*") for digits in (1, 2, 3)))
        return cls(is_of_our_form, case((is_code, plan), else_=""), term == SUBSCRIPTION_TERM)


def _split(text: ColumnElement[str]) -> tuple[ColumnElement[str], ColumnElement[str]]:
    """Return what stands before the first separator (nothing: there is none), and what after it."""
    place = func.instr(text, _SEPARATOR)
    return func.substr(text, 1, place - 1), func.substr(text, place + 1)


def _kind(claims: Claims) -> ColumnElement[str]:
    is_subscription = func.coalesce(StripeEvent.is_recurring, claims.is_subscription)
    # The ledger does not say of a charge whether it is the first: the subscription's row, made from all of them, does.
    begins = exists().where(Subscription.first_charge_id == StripeEvent.event_id)
    is_first = func.coalesce(StripeEvent.is_first_recurring, begins)
    return case(
        (_IS_RETURN, Kind.RETURN),
        (_IS_REFUND, Kind.REFUND),
        (and_(is_subscription, is_first), Kind.NEW_SUBSCRIPTION),
        (is_subscription, Kind.RENEWAL),
        else_=Kind.PURCHASE,
    )
