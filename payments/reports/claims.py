"""What a payload claims to sell, asked of the database: nothing of it is proved (payments/payload.py proves).

PostgreSQL has regular expressions and split_part. SQLite has neither, but for a call into Python for each row, which
takes longer than all the rest.
"""

from dataclasses import dataclass
from typing import Self

from sqlalchemy import ColumnElement, and_, case, func, not_, or_

from payments.payload import CODE_PATTERN, OUR_FORM_BEGINS, SUBSCRIPTION_TERM

_SEPARATOR = ":"


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
