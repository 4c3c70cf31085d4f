"""The admins' commands /refund and /history USER; the sender's id tells an admin from others."""

import re
from collections.abc import Sequence
from typing import Final

from aiogram import Bot, F, Router
from aiogram.filters import CommandObject
from aiogram.types import Message
from loguru import logger
from markupsafe import Markup

from bot.chat.bot_name import CommandHere
from bot.chat.history_pages import HistoryButton, HistoryPages, who
from bot.chat.names import Names
from bot.chat.talk import answer, topic_of
from bot.chat.words import Words
from bot.handlers.places import IN_PRIVATE, WRITTEN_HERE, ByAdmin, InNameOfAdminChat, InPrivateOrAdminChat, sender_id
from db.limits import CHARGE_ID_LENGTH_MAX, TELEGRAM_ID_MAX
from db.states import EventOutcome
from db.tables import User
from payments.errors import RefundRefusedError
from payments.payment_desk import REASON_LENGTH_MAX
from payments.telegram import TelegramPaymentHandler

_ADMINS_ONLY: Final = ("history", "refund", "pending", "retry", "report")
_USER: Final = re.compile(r"(?P<id>[1-9][0-9]{0,15})|@(?P<username>[A-Za-z0-9_]{1,32})")


def make_router() -> Router:
    """Return the router of the admins' commands, for private chats and the admins' group."""
    router = Router(name="admin")
    router.message.filter(InPrivateOrAdminChat())
    router.message.register(on_anonymous, InNameOfAdminChat(), CommandHere(*_ADMINS_ONLY, "help", ignore_case=True))
    by_admin = (ByAdmin(), WRITTEN_HERE)
    router.message.register(on_refund_command, *by_admin, CommandHere("refund", ignore_case=True))
    router.message.register(on_history_of, *by_admin, CommandHere("history", ignore_case=True, magic=F.args))
    router.message.register(on_history_of_nobody, *by_admin, ~IN_PRIVATE, CommandHere("history", ignore_case=True))
    router.message.register(on_help, *by_admin, ~IN_PRIVATE, CommandHere("help", ignore_case=True))
    return router


async def on_anonymous(message: Message, words: Words) -> None:
    """Tell an anonymous admin, who writes in the group's name, how the bot can recognise an admin."""
    await answer(message, words.say("anonymous_admin"))


async def on_help(message: Message, words: Words) -> None:
    """Answer /help in the admins' group, where nobody buys."""
    await answer(message, words.say("help.admin"))


async def on_refund_command(
    message: Message, command: CommandObject, words: Words, payments: TelegramPaymentHandler
) -> None:
    """Record an admin's /refund, and confirm it at once.

    The outbox tells the result later, because Telegram may be slow.
    """
    charge_id, reason = _split(command.args or "")
    if not charge_id.isprintable() or not 0 < len(charge_id) <= CHARGE_ID_LENGTH_MAX:
        await answer(message, words.say("refund.usage"))
        return
    if reason is not None and len(reason) > REASON_LENGTH_MAX:
        await answer(message, words.say("refund.reason_too_long", length=REASON_LENGTH_MAX))
        return
    admin_id = sender_id(message)
    bound = logger.bind(admin_id=admin_id, chat_id=message.chat.id, charge_id=charge_id)
    try:
        requested = await payments.request_refund(
            charge_id,
            reason=reason,
            requested_by=f"telegram:{admin_id}",
            reply_chat_id=message.chat.id,
            reply_topic_id=topic_of(message),
        )
    except RefundRefusedError as error:
        bound.info("/refund: refused: {}", error.refusal)
        await answer(message, _refused(words, error, charge_id))
        return
    refund, buyer, charge = requested.refund, requested.buyer, requested.charge
    bound.bind(user_id=buyer.id, event_type=refund.event_type).info("/refund: asked for")
    try:
        amount = words.money(refund.amount_cents, refund.currency)
        lines = [words.say("refund.asked", amount=amount, who=who(words, buyer))]
        if charge is not None and charge.outcome == EventOutcome.FOREIGN:
            lines.append(words.say("refund.foreign"))
        await answer(message, Markup("\n").join(lines))
    finally:
        payments.wake()


async def on_history_of(
    message: Message,
    command: CommandObject,
    bot: Bot,
    words: Words,
    history: HistoryPages,
    names: Names,
) -> None:
    """Answer /history USER with the newest page of the user whom an admin names by Telegram id or @username.

    It asks Telegram for the user's name first, because a name passes from one account to another.
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
    """Answer an admin's /history without a user in the group, where it is nobody's own."""
    await answer(message, words.say("history.usage"))


def _refused(words: Words, error: RefundRefusedError, charge_id: str) -> Markup:
    text = words.say(f"refused.{error.refusal}", charge_id=charge_id)
    if error.requested_by is None:
        return text
    if error.requested_why:
        stands = words.say("refund.stands_for", requested_by=error.requested_by, reason=error.requested_why)
    else:
        stands = words.say("refund.stands", requested_by=error.requested_by)
    return Markup("\n").join([text, stands])


def _split(args: str) -> tuple[str, str | None]:
    """Split the arguments of /refund into the charge's id and the reason, which becomes one line."""
    charge_id, *rest = args.split(maxsplit=1) or [""]
    return charge_id, " ".join(rest[0].replace("\0", "").split()) or None if rest else None


async def _show(message: Message, words: Words, history: HistoryPages, user: User) -> None:
    page = None
    if user.telegram_id is not None:
        page = await history.show(words, HistoryButton(telegram_id=user.telegram_id, for_admin=True))
    if page is None:
        await answer(message, words.say("history.nothing_of", who=who(words, user)))
    else:
        await answer(message, page.text, keyboard=page.keyboard)
