"""The bot's Star ledger: every transaction, oldest first, as getStarTransactions returns it."""

from datetime import datetime
from enum import StrEnum
from random import Random

from sandbox.clock import VirtualClock
from sandbox.errors import ControlError
from sandbox.feed import Feed
from sandbox.people import People
from sandbox.shapes import Json, without_none

NANO = 1_000_000_000

_GIFT_STICKER: Json = {
    "file_id": "gift-sticker",
    "file_unique_id": "gift-sticker",
    "type": "regular",
    "width": 512,
    "height": 512,
    "is_animated": False,
    "is_video": False,
}


class OtherRow(StrEnum):
    """The kind of a ledger row that no invoice of the bot made."""

    GIFT = "gift"
    PAID_MEDIA = "paid_media"
    FOREIGN_PAYMENT = "foreign_payment"
    """An invoice payment of another program on the same token."""
    WITHDRAWAL = "withdrawal"
    AFFILIATE_PROGRAM = "affiliate_program"
    ADS = "ads"
    PAID_BROADCAST = "paid_broadcast"
    OTHER = "other"


class Ledger:
    """The bot's Star ledger: rows in the Bot API's shape, append-only, and their sum."""

    def __init__(self, clock: VirtualClock, people: People, feed: Feed, random: Random) -> None:
        self.rows: list[Json] = []
        self._balance_nanostars = 0
        self._clock = clock
        self._people = people
        self._feed = feed
        self._random = random

    def page(self, offset: int, limit: int) -> list[Json]:
        """Return up to `limit` rows after the first `offset`, oldest first."""
        return self.rows[offset : offset + limit]

    def balance(self) -> Json:
        """Return the bot's balance as the Bot API's StarAmount; both parts have the sign of the balance."""
        sign = -1 if self._balance_nanostars < 0 else 1
        stars, nanostars = divmod(abs(self._balance_nanostars), NANO)
        return without_none(amount=sign * stars, nanostar_amount=sign * nanostars or None)

    def balance_stars(self) -> int:
        """Return the bot's balance in whole Stars, rounded down."""
        return self._balance_nanostars // NANO

    def append(self, row: Json) -> None:
        """Append a row, and add it to the balance."""
        self.rows.append(row)
        amount_nanostars = row.get("amount", 0) * NANO + row.get("nanostar_amount", 0)
        self._balance_nanostars += amount_nanostars if "source" in row else -amount_nanostars
        self._feed.publish("ledger", id=row.get("id"))

    def add_rows(self, *, rows: list[Json]) -> int:
        """Append any rows as they are, also odd ones; return the ledger's number of rows."""
        for row in rows:
            self.append(row)
        return len(self.rows)

    def add_copies(self, *, row: Json, count: int) -> int:
        """Append copies of a row, each under an id of its own; return the ledger's number of rows."""
        for number in range(count):
            self.append(row | {"id": f"{row['id']}-{number}"})
        return len(self.rows)

    def end_withdrawal(self, *, row_id: str, succeeded: bool) -> Json:
        """End a pending withdrawal; one that failed comes back as a row of its own.

        Raises ControlError.
        """
        for row in self.rows:
            partner = row.get("receiver")
            if row.get("id") == row_id and partner and partner.get("withdrawal_state") == {"type": "pending"}:
                break
        else:
            raise ControlError(f"there is no pending withdrawal {row_id}")
        date = int(self._clock.now().timestamp())
        if succeeded:
            partner["withdrawal_state"] = {"type": "succeeded", "date": date, "url": f"https://fragment.com/{row_id}"}
        else:
            partner["withdrawal_state"] = {"type": "failed"}
            back = {name: value for name, value in row.items() if name != "receiver"}
            self.append(back | {"date": date, "source": {"type": "fragment"}})
        self._feed.publish("ledger", id=row_id)
        return row

    def add_other(
        self,
        *,
        kind: OtherRow,
        stars: int,
        user_id: int | None = None,
        payload: str = "",
        nanostars: int = 0,
        at: datetime | None = None,
    ) -> Json:
        """Append a ledger row of another kind, in that kind's direction. `stars` is positive."""
        outgoing = kind in (OtherRow.GIFT, OtherRow.WITHDRAWAL, OtherRow.ADS, OtherRow.PAID_BROADCAST)
        user = self._people.person(user_id).user() if user_id else None
        row = without_none(
            id=f"{kind.value}{self._random.getrandbits(64):016x}",
            amount=stars,
            nanostar_amount=nanostars or None,
            date=int((at or self._clock.now()).timestamp()),
            **{"receiver" if outgoing else "source": _other_partner(kind, stars, user, payload)},
        )
        self.append(row)
        return row


def payment_partner(
    user: Json,
    payload: str,
    period_seconds: int,
    *,
    as_paid_media: bool = False,
    affiliate: Json | None = None,
) -> Json:
    """Return the TransactionPartnerUser of an invoice payment's ledger row.

    `as_paid_media` is the odd form in which telegram-bot-api shows some payments (Client.cpp,
    JsonStarTransactionPartner): another type, and the payload under another name.
    """
    return without_none(
        type="user",
        transaction_type="paid_media_payment" if as_paid_media else "invoice_payment",
        user=user,
        affiliate=affiliate,
        **{"paid_media_payload" if as_paid_media else "invoice_payload": payload},
        subscription_period=period_seconds or None,
    )


def _other_partner(kind: OtherRow, stars: int, user: Json | None, payload: str) -> Json:
    match kind:
        case OtherRow.GIFT:
            gift = {"id": "1", "sticker": _GIFT_STICKER, "star_count": stars}
            return without_none(type="user", transaction_type="gift_purchase", user=user, gift=gift)
        case OtherRow.PAID_MEDIA:
            return {
                "type": "user",
                "transaction_type": "paid_media_payment",
                "user": user,
                "paid_media": [{"type": "preview"}],
                "paid_media_payload": payload,
            }
        case OtherRow.FOREIGN_PAYMENT:
            return payment_partner(user or {}, payload, 0)
        case OtherRow.WITHDRAWAL:
            return {"type": "fragment", "withdrawal_state": {"type": "pending"}}
        case OtherRow.AFFILIATE_PROGRAM:
            return without_none(type="affiliate_program", commission_per_mille=100, sponsor_user=user)
        case OtherRow.ADS:
            return {"type": "telegram_ads"}
        case OtherRow.PAID_BROADCAST:
            return {"type": "telegram_api", "request_count": stars * 10}
    return {"type": "other"}
