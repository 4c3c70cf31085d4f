"""Lists of Stripe's API: filtered, newest first, in pages (Stripe API reference, pagination)."""

from collections.abc import Mapping, Sequence
from typing import Final

from sandbox.shapes import Json
from sandbox.stripe.errors import StripeRefusalError, missing

LIMIT: Final = 10
LIMIT_MAX: Final = 100
_FACTS: Final = ("charge", "payment_intent", "type")
"""The facts of an object by which a list can be filtered, where its objects have them."""


def page_of(newest_first: Sequence[Json], path: str, query: Mapping[str, str]) -> Json:
    """Return the page of a list that a query names; raises StripeRefusalError."""
    found = [each for each in newest_first if _is_wanted(each, query)]
    limit = _number(query, "limit", LIMIT)
    if not 1 <= limit <= LIMIT_MAX:
        raise StripeRefusalError(400, f"This value must be between 1 and {LIMIT_MAX}: limit", "parameter_invalid")
    after = query.get("starting_after")
    begin = 0 if after is None else _place(found, after) + 1
    page = found[begin : begin + limit]
    return {"object": "list", "url": path, "data": page, "has_more": len(found) > begin + limit}


def _is_wanted(found: Json, query: Mapping[str, str]) -> bool:
    made = found["created"]
    return (
        all(found.get(fact) == query[fact] for fact in _FACTS if fact in query)
        and _number(query, "created", made) == made
        and _number(query, "created[gte]", made) <= made <= _number(query, "created[lte]", made)
        and _number(query, "created[gt]", made - 1) < made < _number(query, "created[lt]", made + 1)
    )


def _place(found: Sequence[Json], object_id: str) -> int:
    for place, each in enumerate(found):
        if each["id"] == object_id:
            return place
    raise missing("object", object_id)


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal():
        raise StripeRefusalError(400, f"Invalid integer: {name}", "parameter_invalid_integer")
    return int(text)
