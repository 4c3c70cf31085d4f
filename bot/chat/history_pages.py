"""A page of /history as a chat message, with buttons to the newer and the older page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from markupsafe import Markup
from pydantic import Field

from bot.chat.words import Words
from db.limits import TELEGRAM_ID_MAX
from db.states import BY_ITSELF
from db.tables import StripeEvent, User
from payments.audit.shown import cut
from payments.notices import is_typable
from payments.payment_desk import Entry, Page, PaymentDesk
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner

PAGES_MAX: Final = 100_000
LATEST_MAX: Final = 3
PAGE_LENGTH_MAX: Final = 3_700
"""The share of a message's 4,096 characters (Bot API, sendMessage) that its entries may take."""
LENGTHS: Final = (1024, 500, 200, 60)
"""Limits for the values of an entry, tried from the first on until the entries fit into one message."""
NAME_LENGTH_MAX: Final = 64
ASKED_BEFORE_MAX: Final = 2
"""The number of former requesters named under a refund, the latest: with it five entries fit into a message."""

_PERSONS: Final = ("telegram:", "cli:")
"""The prefixes of `requested_by` for a refund that a person asked for: an admin in the chat, or on the server."""


class HistoryButton(CallbackData, prefix="history"):
    """The data of a button under a history page: its user, its page, and whether an admin reads it."""

    telegram_id: Annotated[int, Field(gt=0, le=TELEGRAM_ID_MAX)]
    number: Annotated[int, Field(gt=0, le=PAGES_MAX)] = 1
    for_admin: bool = False


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A history page as a message; it has a keyboard if there is another page."""

    text: Markup
    keyboard: InlineKeyboardMarkup | None


class HistoryPages:
    """Makes history pages. The invoice's payload names the plan of a charge, the catalog gives its title."""

    def __init__(self, payments: PaymentDesk, catalog: Catalog, signer: PayloadSigner) -> None:
        self._payments = payments
        self._catalog = catalog
        self._signer = signer

    async def show(self, words: Words, wanted: HistoryButton) -> ShownPage | None:
        """Return a history page; None when there is no page of this number. The caller has checked who may see it."""
        found = await self._payments.read_history(wanted.telegram_id, wanted.number)
        if found is None or not found.page.entries:
            return None
        user, page = found.user, found.page
        own = words.say("history.title")
        title = words.say("history.title_of", who=who(words, user)) if wanted.for_admin else own
        entries = self._entries(words, page.entries, for_admin=wanted.for_admin)
        if page.page_count == 1:
            return ShownPage(Markup("\n\n").join([title, *entries]), None)
        footer = words.say("history.page", page=page.number, pages=page.page_count)
        return ShownPage(Markup("\n\n").join([title, *entries, footer]), _keyboard(words, wanted, page))

    async def latest(self, words: Words, telegram_id: int) -> list[Markup]:
        """Return a user's latest history entries for /status, at most 3 charges and refunds, each as lines of text."""
        found = await self._payments.read_history(telegram_id)
        entries = () if found is None else found.page.entries[:LATEST_MAX]
        return self._entries(words, entries, for_admin=False)

    def _entries(self, words: Words, entries: Sequence[Entry], *, for_admin: bool) -> list[Markup]:
        """Return history entries that fit into one message, with their values cut as far as needed."""
        shown: list[Markup] = []
        for length_max in LENGTHS:
            shown = [self._entry(words, entry, length_max, for_admin=for_admin) for entry in entries]
            if sum(map(len, shown)) <= PAGE_LENGTH_MAX:
                break
        return shown

    def _entry(self, words: Words, entry: Entry, length_max: int, *, for_admin: bool) -> Markup:
        event = entry.event
        moment = event.webhook_timestamp or event.created_at or event.processed_at
        when = words.date(moment) if moment else "-"
        amount = words.money(event.amount_cents, event.currency)
        state = words.say(f"state.{entry.state}")
        charge_id = event.refund_of or event.event_id
        if not is_typable(charge_id):
            charge_id = (entry.charge or event).id
        charge_id = cut(charge_id, length_max)
        title = self._title(entry.charge)
        if entry.is_dispute:
            text = words.say("history.charged_back", when=when, amount=amount, state=state, charge_id=charge_id)
        elif entry.is_refund:
            text = words.say("history.refund", when=when, amount=amount, state=state, charge_id=charge_id)
        elif title is None:
            text = words.say("history.charge", when=when, amount=amount, state=state, charge_id=charge_id)
        else:
            text = words.say(
                "history.charge_for", when=when, title=title, amount=amount, state=state, charge_id=charge_id
            )
        return Markup("\n").join([text, *_remarks(words, entry, length_max, for_admin=for_admin)])

    def _title(self, charge: StripeEvent | None) -> str | None:
        if charge is None or charge.payload is None:
            return None
        reading = self._signer.read(charge.payload)
        order = reading.order or reading.claimed
        plan = self._catalog.get(order.plan) if order else None
        return plan.title if plan else None


def who(words: Words, user: User) -> Markup:
    """Return how a history page names a user to admins: by @username if one is known, and by the Telegram id."""
    if user.username is None:
        return words.say("person", telegram_id=user.telegram_id)
    return words.say("person.named", username=cut(user.username, NAME_LENGTH_MAX), telegram_id=user.telegram_id)


def _remarks(words: Words, entry: Entry, length_max: int, *, for_admin: bool) -> Iterator[Markup]:
    event = entry.event
    # A reason that no person gave is a code of the program or of the provider, which no buyer reads.
    requested_by = event.requested_by or ""
    if event.reason and (requested_by.startswith(_PERSONS) or (for_admin and requested_by != BY_ITSELF)):
        yield words.say("history.reason", reason=cut(event.reason, length_max))
    if event.requested_by and for_admin:
        yield words.say("history.requested_by", requested_by=cut(event.requested_by, min(length_max, NAME_LENGTH_MAX)))
    for asked_by, why in entry.asked_before[-ASKED_BEFORE_MAX:] if for_admin else ():
        if why:
            yield words.say("history.asked_before_for", requested_by=asked_by or "-", reason=why)
        else:
            yield words.say("history.asked_before", requested_by=asked_by or "-")


def _keyboard(words: Words, wanted: HistoryButton, page: Page) -> InlineKeyboardMarkup:
    row = []
    if page.number > 1:
        newer = wanted.model_copy(update={"number": page.number - 1})
        row.append(InlineKeyboardButton(text=words.plain("button.newer"), callback_data=newer.pack()))
    if page.number < page.page_count:
        older = wanted.model_copy(update={"number": page.number + 1})
        row.append(InlineKeyboardButton(text=words.plain("button.older"), callback_data=older.pack()))
    return InlineKeyboardMarkup(inline_keyboard=[row])
