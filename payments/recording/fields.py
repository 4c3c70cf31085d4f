"""The parts of narrow models: of what Telegram says, the few fields that bear money, each fit for the database.

Nothing new or odd elsewhere can hide a payment, and a value that the database would not take (NUL, a lone surrogate,
too long, out of range) is found here, before the database is asked.
"""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from payments.sale.payload import TELEGRAM_ID_MAX

CHARGE_ID_LENGTH_MAX: Final = 1024
"""Characters; seen are more than 128."""
CHARGE_ID_BYTES_MAX: Final = 2048
"""PostgreSQL indexes 2,704 bytes at most, and `returned:refund:` and a UUID may stand around a charge's id."""

_DATE_MAX: Final = 253_402_300_799  # the last second that datetime knows


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate") from None
    return text


def _indexable(text: str) -> str:
    if len(text.encode()) > CHARGE_ID_BYTES_MAX:
        raise ValueError(f"has more than {CHARGE_ID_BYTES_MAX} bytes")
    return text


Payload = Annotated[str, AfterValidator(_storable), StringConstraints(max_length=1024)]
ChargeId = Annotated[
    str,
    AfterValidator(_storable),
    AfterValidator(_indexable),
    StringConstraints(min_length=1, max_length=CHARGE_ID_LENGTH_MAX),
]
"""No document says of what letters an id is made: whatever the database takes is recorded (payments/notices.py)."""
Seconds = Annotated[int, Field(ge=0, le=_DATE_MAX)]
"""A moment as Telegram says it: seconds since 1970, UTC."""


class Narrow(BaseModel):
    """Base of the models: strict, blind to what is not named."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Id(Narrow):
    """A user, or a user's private chat."""

    id: int = Field(gt=0, le=TELEGRAM_ID_MAX)


def moment(seconds: int) -> datetime:
    """Return a moment of `Seconds`, aware, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def in_words(error: ValidationError) -> str:
    """Name the fields that are wrong, and quote no value."""
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
