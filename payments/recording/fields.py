"""Fields of narrow models, which read only the money in Telegram's JSON and check it for the database.

A fault in any other field of a message hides no payment. A value that the database would refuse (NUL, a lone surrogate,
too long, out of range) fails here, before the desk asks the database.
"""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from db.limits import CHARGE_ID_BYTES_MAX, CHARGE_ID_LENGTH_MAX, TELEGRAM_ID_MAX

_DATE_MAX: Final = 253_402_300_799  # the last second that datetime knows


def _check_storable(text: str) -> str:
    """Check that a text field holds nothing that the database refuses. Raises ValueError."""
    if "\0" in text:
        raise ValueError("holds a NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate") from None
    return text


def _check_indexable(text: str) -> str:
    """Check that a charge id field fits into PostgreSQL's index. Raises ValueError."""
    if len(text.encode()) > CHARGE_ID_BYTES_MAX:
        raise ValueError(f"has more than {CHARGE_ID_BYTES_MAX} bytes")
    return text


Payload = Annotated[str, AfterValidator(_check_storable), StringConstraints(max_length=1024)]
ChargeId = Annotated[
    str,
    AfterValidator(_check_storable),
    AfterValidator(_check_indexable),
    StringConstraints(min_length=1, max_length=CHARGE_ID_LENGTH_MAX),
]
"""No document names the letters of an id, so the desk records every id that the database takes (payments/notices.py).
"""
Seconds = Annotated[int, Field(ge=0, le=_DATE_MAX)]
"""A moment in Telegram's JSON: seconds since 1970, UTC."""


class Narrow(BaseModel):
    """The base of narrow models: strict about the fields that it names, and blind to all others."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Id(Narrow):
    """The id of a user, or of a user's private chat, as a narrow model."""

    id: int = Field(gt=0, le=TELEGRAM_ID_MAX)


def moment(seconds: int) -> datetime:
    """Convert Telegram's seconds since 1970 to an aware moment in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def wrong_fields(error: ValidationError) -> str:
    """Name the wrong fields of a narrow model, without their values."""
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
