"""The dispatcher of Telegram's updates: all routers in their order, with the middlewares before them."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiogram import Dispatcher
from aiogram.types import TelegramObject, User
from aiogram.utils.callback_answer import CallbackAnswerMiddleware

from bot.calls.retry_calls import retry_for_sender
from bot.chat.bot_name import BotName
from bot.chat.history_pages import HistoryPages
from bot.chat.moved_chats import AdminChat
from bot.chat.names import Names
from bot.chat.refused_invoices import RefusedInvoices
from bot.chat.storefront import Storefront
from bot.chat.subscriptions import SubscriptionPages
from bot.chat.words import for_language, our_locales
from bot.handlers import account, admin, checkout, moved, pending, reports, shop, subscriptions, support
from bot.handlers.errors import on_error
from bot.handlers.places import Here
from bot.handlers.rate_limit import RateLimit
from db.clock import Clock
from db.engine import Database
from db.timings import Timings
from payments.notices import Admins
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner
from payments.telegram import TelegramPaymentHandler


def make_dispatcher(  # noqa: PLR0913 - all that the handlers are given
    *,
    handler: TelegramPaymentHandler,
    database: Database,
    catalog: Catalog,
    signer: PayloadSigner,
    clock: Clock,
    admins: Admins,
    admin_chat: AdminChat,
    support_contact: str | None,
    on_owed: Callable[[], None],
    timings: Timings,
) -> Dispatcher:
    """Return the dispatcher of all handlers; the caller calls its `feed_update`.

    `support_contact` is the seller's setting. The caller feeds an update that bears money with its `fact`, which is on
    record. Every error of a handler ends here. The handlers call `on_owed` when a notice has become due.
    """
    # A checkout whose texts nobody has compiled ends here, at the start, and not at the first message.
    our_locales()
    refused = RefusedInvoices(database, clock, admins, on_owed)
    bot_name, names = BotName(clock), Names(database, clock)
    dispatcher = Dispatcher(
        disable_fsm=True,
        payments=handler,  # aiogram hands in something of its own as `handler`
        storefront=Storefront(handler, catalog, refused, timings.shop_look_seconds),
        history=HistoryPages(handler, catalog, signer),
        database=database,
        clock=clock,
        subscriptions=SubscriptionPages(handler, catalog),
        admins=admins,
        admin_chat=admin_chat,
        bot_name=bot_name,
        names=names,
        support_contact=support_contact,
    )
    dispatcher.update.outer_middleware(retry_for_sender)
    dispatcher.update.outer_middleware(_speak)
    dispatcher.update.outer_middleware(Here(admin_chat, bot_name, clock))
    dispatcher.update.outer_middleware(names)
    dispatcher.update.outer_middleware(RateLimit(clock))
    dispatcher.callback_query.middleware(CallbackAnswerMiddleware())
    dispatcher.errors.register(on_error)
    # An admin's /history USER goes before a user's own /history, and the last router takes the rest.
    dispatcher.include_routers(
        *(
            each.make_router()
            for each in (checkout, moved, subscriptions, shop, admin, pending, reports, account, support)
        )
    )
    return dispatcher


async def _speak(
    handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]], event: TelegramObject, data: dict[str, Any]
) -> Any:
    """Hand the words of the sender's language to the handlers, as `words`."""
    sender: User | None = data.get("event_from_user")
    data["words"] = for_language(sender.language_code if sender else None)
    return await handler(event, data)
