"""What only admins may: /refund, what waits, and the history of anybody. They are known by the sender's id."""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from aiogram import Bot, F, Router
from aiogram.filters import CommandObject
from aiogram.types import Message
from loguru import logger
from markupsafe import Markup

from bot.chat.bot_name import Order
from bot.chat.history_pages import NAME_LENGTH_MAX, HistoryButton, HistoryPages, who
from bot.chat.names import Names
from bot.chat.talk import answer, topic_of
from bot.chat.words import Words
from bot.handlers.places import IN_PRIVATE, WRITTEN_HERE, ByAdmin, InNameOfAdminChat, InPrivateOrAdminChat, sender_id
from db.tables import STARS_CURRENCY, EventStatus, Outcome, QuarantinedUpdate, StripeEvent, Subscription, User
from payments.audit.shown import cut
from payments.errors import RefundRefusedError
from payments.payment_desk import CHARGE_ID_LENGTH_MAX, REASON_LENGTH_MAX, retry_id
from payments.sale.payload import TELEGRAM_ID_MAX
from payments.telegram import TelegramPaymentHandler

WHY_LENGTH_MAX: Final = 120
LIST_LENGTH_MAX: Final = 3_500
"""Characters of entries in a list, with their tags: a message holds 4,096 (Bot API, sendMessage)."""

_ADMINS_ONLY: Final = ("history", "refund", "pending", "retry", "report")
_USER: Final = re.compile(r"(?P<id>[1-9][0-9]{0,15})|@(?P<username>[A-Za-z0-9_]{1,32})")


def make_router() -> Router:
    """Return the router of the admins' commands, for private chats and the admins' group."""
    router = Router(name="admin")
    router.message.filter(InPrivateOrAdminChat())
    router.message.register(on_anonymous, InNameOfAdminChat(), Order(*_ADMINS_ONLY, "help", ignore_case=True))
    by_admin = (ByAdmin(), WRITTEN_HERE)
    router.message.register(on_refund, *by_admin, Order("refund", ignore_case=True))
    router.message.register(on_pending, *by_admin, Order("pending", ignore_case=True))
    router.message.register(on_retry, *by_admin, Order("retry", ignore_case=True))
    router.message.register(on_history_of, *by_admin, Order("history", ignore_case=True, magic=F.args))
    router.message.register(on_history_of_nobody, *by_admin, ~IN_PRIVATE, Order("history", ignore_case=True))
    router.message.register(on_help, *by_admin, ~IN_PRIVATE, Order("help", ignore_case=True))
    return router


async def on_anonymous(message: Message, words: Words) -> None:
    """Tell an admin who writes in the name of the group how to be known."""
    await answer(message, words.say("anonymous_admin"))


async def on_help(message: Message, words: Words) -> None:
    """Answer /help in the admins' group, where nobody buys."""
    await answer(message, words.say("help.admin"))


async def on_refund(message: Message, command: CommandObject, words: Words, payments: TelegramPaymentHandler) -> None:
    """Put a refund on record, and say so at once: Telegram may be slow, and what came of it is told by the outbox."""
    charge_id, reason = _split(command.args or "")
    if not charge_id.isprintable() or not 0 < len(charge_id) <= CHARGE_ID_LENGTH_MAX:
        await answer(message, words.say("refund.usage"))
        return
    if reason is not None and len(reason) > REASON_LENGTH_MAX:
        await answer(message, words.say("refund.reason_too_long", length=REASON_LENGTH_MAX))
        return
    admin_id = sender_id(message)
    order = logger.bind(admin_id=admin_id, chat_id=message.chat.id, charge_id=charge_id)
    try:
        asked = await payments.ask_refund(
            charge_id,
            reason=reason,
            requested_by=f"telegram:{admin_id}",
            reply_chat_id=message.chat.id,
            reply_topic_id=topic_of(message),
        )
    except RefundRefusedError as error:
        order.info("/refund: refused: {}", error.refusal)
        await answer(message, _refused(words, error, charge_id))
        return
    refund, buyer, charge = asked.refund, asked.buyer, asked.charge
    order.bind(user_id=buyer.id, event_type=refund.event_type).info("/refund: asked for")
    try:
        amount = words.money(refund.amount_cents, refund.currency)
        lines = [words.say("refund.asked", amount=amount, who=who(words, buyer))]
        if charge is not None and charge.outcome == Outcome.FOREIGN:
            lines.append(words.say("refund.foreign"))
        await answer(message, Markup("\n").join(lines))
    finally:
        payments.wake()


async def on_pending(message: Message, words: Words, payments: TelegramPaymentHandler) -> None:
    """List what waits, each with the command that takes it up again."""
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
    """Take up again what waits."""
    waiting_id = (command.args or "").strip()
    if not waiting_id.isprintable() or not 0 < len(waiting_id) <= CHARGE_ID_LENGTH_MAX:
        await answer(message, words.say("retry.usage"))
        return
    came = await payments.retry(waiting_id)
    logger.bind(admin_id=sender_id(message), chat_id=message.chat.id, event_id=waiting_id).info("/retry: {}", came)
    await answer(message, words.say(f"retry.{came}", id=waiting_id))


async def on_history_of(
    message: Message,
    command: CommandObject,
    bot: Bot,
    words: Words,
    history: HistoryPages,
    names: Names,
) -> None:
    """Show the newest page of the payments of the user whom an admin names by Telegram id or @username.

    Telegram is asked for the user's name before the page is seen: a name passes from one account to another.
    """
    named = _USER.fullmatch((command.args or "").strip())
    if named is None or int(named["id"] or 0) > TELEGRAM_ID_MAX:
        await answer(message, words.say("history.usage"))
        return
    logger.bind(admin_id=sender_id(message), chat_id=message.chat.id).info("/history of {}", named[0])
    found = await (names.find(bot, named["username"]) if named["username"] else names.find_id(bot, int(named["id"])))
    if len(found.have) == 1:
        if not found.is_sure:
            await answer(message, words.say("history.unsure", user=named[0]))
        if found.had:
            await answer(message, words.say("history.passed_on", user=named[0], ids=_ids(words, found.had)))
        await _show(message, words, history, found.have[0])
    elif found.have or len(found.had) > 1:
        ids = _ids(words, sorted([*found.have, *found.had], key=lambda user: user.telegram_id or 0))
        await answer(message, words.say("history.namesakes", user=named[0], ids=ids))
    elif found.had:
        await answer(message, words.say("history.given_up", user=named[0], ids=_ids(words, found.had)))
    else:
        await answer(message, words.say("history.unknown_user", user=named[0]))


def _ids(words: Words, users: Sequence[User]) -> Markup:
    return Markup(", ").join(words.say("person", telegram_id=user.telegram_id) for user in users)


async def on_history_of_nobody(message: Message, words: Words) -> None:
    """Tell an admin in the group to say whose history is wanted."""
    await answer(message, words.say("history.usage"))


def _refused(words: Words, error: RefundRefusedError, charge_id: str) -> Markup:
    text = words.say(f"refused.{error.refusal}", charge_id=charge_id)
    if error.asked_by is None:
        return text
    if error.asked_why:
        stands = words.say("refund.stands_for", requested_by=error.asked_by, reason=error.asked_why)
    else:
        stands = words.say("refund.stands", requested_by=error.asked_by)
    return Markup("\n").join([text, stands])


def _split(args: str) -> tuple[str, str | None]:
    """Part a charge's id from the reason, which becomes one line."""
    charge_id, *rest = args.split(maxsplit=1) or [""]
    return charge_id, " ".join(rest[0].replace("\0", "").split()) or None if rest else None


def _that_fit(entries: Sequence[Markup]) -> list[Markup]:
    """Keep as many entries as one message holds, and one at least: what is left out comes to the front in its turn."""
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


def _cut(words: Words, reason: str) -> Markup:
    return words.why(reason if len(reason) <= WHY_LENGTH_MAX else f"{reason[:WHY_LENGTH_MAX]}…")


def _waiting_event(words: Words, event: StripeEvent, user: User) -> Markup:
    state = words.say("state.waiting" if event.outcome == Outcome.PARKED else "state.open")
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


async def _show(message: Message, words: Words, history: HistoryPages, user: User) -> None:
    page = None
    if user.telegram_id is not None:
        page = await history.show(words, HistoryButton(telegram_id=user.telegram_id, for_admin=True))
    if page is None:
        await answer(message, words.say("history.nothing_of", who=who(words, user)))
    else:
        await answer(message, page.text, keyboard=page.keyboard)
