"""The admins' commands /pending and /retry: they list events, renewals and updates that wait, and retry one of them."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from aiogram import Router
from aiogram.filters import CommandObject
from aiogram.types import Message
from loguru import logger
from markupsafe import Markup

from bot.chat.bot_name import CommandHere
from bot.chat.history_pages import NAME_LENGTH_MAX, who
from bot.chat.talk import answer
from bot.chat.words import Words
from bot.handlers.places import WRITTEN_HERE, ByAdmin, InPrivateOrAdminChat, sender_id
from db.limits import CHARGE_ID_LENGTH_MAX
from db.states import STARS_CURRENCY, EventOutcome, EventStatus
from db.tables import QuarantinedUpdate, StripeEvent, Subscription, User
from payments.audit.shown import cut
from payments.payment_desk import retry_id
from payments.telegram import TelegramPaymentHandler

WHY_LENGTH_MAX: Final = 120
LIST_LENGTH_MAX: Final = 3_500
"""Characters of entries in a list, with their tags: a message holds 4,096 (Bot API, sendMessage)."""


def make_router() -> Router:
    """Return the router of /pending and /retry, for admins in private chats and in their group."""
    router = Router(name="pending")
    router.message.filter(InPrivateOrAdminChat(), ByAdmin(), WRITTEN_HERE)
    router.message.register(on_pending, CommandHere("pending", ignore_case=True))
    router.message.register(on_retry, CommandHere("retry", ignore_case=True))
    return router


async def on_pending(message: Message, words: Words, payments: TelegramPaymentHandler) -> None:
    """Answer /pending with the events, renewals and updates that wait, each with the command that retries it."""
    found = await payments.list_pending()
    if not found.count:
        await answer(message, words.say("pending.nothing"))
        return
    entries = [_waiting_update(words, row) for row in found.quarantined]
    entries += [_stuck_renewal(words, subscription, user) for subscription, user in found.renewals]
    entries += [_waiting_event(words, event, user) for event, user in found.events]
    shown = _that_fit(entries)
    if found.count > len(shown):
        shown.append(words.say("pending.more", count=found.count - len(shown)))
    await answer(message, Markup("\n\n").join([words.say("pending.title"), *shown]))


async def on_retry(message: Message, command: CommandObject, words: Words, payments: TelegramPaymentHandler) -> None:
    """Answer /retry: retry the event, renewal or update that an admin names by its id in /pending."""
    waiting_id = (command.args or "").strip()
    if not waiting_id.isprintable() or not 0 < len(waiting_id) <= CHARGE_ID_LENGTH_MAX:
        await answer(message, words.say("retry.usage"))
        return
    result = await payments.retry(waiting_id)
    logger.bind(admin_id=sender_id(message), chat_id=message.chat.id, event_id=waiting_id).info("/retry: {}", result)
    await answer(message, words.say(f"retry.{result}", id=waiting_id))


def _that_fit(entries: Sequence[Markup]) -> list[Markup]:
    """Return the first entries of /pending that one message holds, and one at least.

    The entries left out come to the front once those before them are done.
    """
    lengths = accumulate(len(entry) for entry in entries)
    fitting = [entry for entry, length in zip(entries, lengths, strict=True) if length <= LIST_LENGTH_MAX]
    return fitting or list(entries[:1])


def _waiting_update(words: Words, row: QuarantinedUpdate) -> Markup:
    return words.say(
        "pending.quarantined",
        when=words.date(row.created_at),
        why=_cut(words, row.reason),
        id=retry_id(row),
    )


def _stuck_renewal(words: Words, subscription: Subscription, user: User) -> Markup:
    return words.say(
        "pending.renewal",
        price=words.money(subscription.price_stars, STARS_CURRENCY),
        plan=cut(subscription.plan, NAME_LENGTH_MAX),
        who=who(words, user),
        renews_at=words.date(subscription.current_period_end),
        why=_cut(words, subscription.error or ""),
        id=retry_id(subscription),
    )


def _waiting_event(words: Words, event: StripeEvent, user: User) -> Markup:
    state = words.say("state.waiting" if event.outcome == EventOutcome.PARKED else "state.open")
    why = _cut(words, event.error) if event.error else words.say("pending.no_attempt")
    key = "charge" if event.refund_of is None else "refund"
    if event.status == EventStatus.PROCESSED:
        key = "settled"
    return words.say(
        f"pending.entry.{key}",
        when=words.date(event.created_at) if event.created_at else "-",
        amount=words.money(event.amount_cents, event.currency),
        who=who(words, user),
        state=state,
        why=why,
        id=retry_id(event),
    )


def _cut(words: Words, reason: str) -> Markup:
    return words.why(reason if len(reason) <= WHY_LENGTH_MAX else f"{reason[:WHY_LENGTH_MAX]}…")
