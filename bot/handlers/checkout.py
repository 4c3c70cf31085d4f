"""The updates that bear money: pre-checkout queries, charges and refunds."""

from aiogram import F, Router
from aiogram.types import PreCheckoutQuery
from loguru import logger

from bot.chat.words import Words
from bot.handlers.errors import came_too_late
from db.states import CheckoutVerdict
from payments.audit.facts import ChargeFact, RefundFact
from payments.metrics import PRE_CHECKOUT_SECONDS
from payments.telegram import CheckoutQuery, TelegramPaymentHandler
from payments.telegram_errors import TELEGRAM_ERRORS, in_words


def make_router() -> Router:
    """Return the router of pre-checkout queries, charges and refunds."""
    router = Router(name="checkout")
    router.pre_checkout_query.register(on_pre_checkout)
    router.message.register(on_charge, F.successful_payment)
    router.message.register(on_refunded_payment, F.refunded_payment)
    return router


async def on_pre_checkout(query: PreCheckoutQuery, words: Words, payments: TelegramPaymentHandler) -> None:
    """Answer a pre-checkout query: yes, or no in the buyer's words (Bot API, answerPreCheckoutQuery)."""
    asked = CheckoutQuery(
        query_id=query.id,
        telegram_id=query.from_user.id,
        amount=query.total_amount,
        currency=query.currency,
        payload=query.invoice_payload,
    )
    with PRE_CHECKOUT_SECONDS.time():
        verdict = await payments.validate_pre_checkout(asked)
        why_not = None if verdict is CheckoutVerdict.ACCEPTED else words.plain(f"decline.{verdict}")
        is_taken = await _answer(query, why_not)
    if is_taken:
        bound = logger.bind(telegram_id=query.from_user.id, query_id=query.id, verdict=verdict.value)
        bound.info("pre-checkout answered")


async def _answer(query: PreCheckoutQuery, why_not: str | None) -> bool:
    """Send the one answer to a pre-checkout, yes without `why_not`, for as long as Telegram waits.

    bot/calls/retry_calls.py repeats the call. Return False when Telegram did not take it. It raises nothing, because
    an apology would be a second answer.
    """
    bound = logger.bind(telegram_id=query.from_user.id, query_id=query.id)
    try:
        await query.answer(ok=why_not is None, error_message=why_not)
    except TELEGRAM_ERRORS as error:
        if came_too_late(error):
            bound.info("an answer came too late: {}", error)
        else:
            bound.error("a pre-checkout was not answered: {}", in_words(error))
        return False
    except Exception as error:  # noqa: BLE001 - see the docstring
        bound.opt(exception=error).error("a pre-checkout was not answered")
        return False
    return True


async def on_charge(_: object, fact: ChargeFact, payments: TelegramPaymentHandler) -> None:
    """Settle a charge that the intake has recorded; the outbox sends the notice to the buyer."""
    await payments.handle_successful_payment(fact, is_recorded=True)


async def on_refunded_payment(_: object, fact: RefundFact, payments: TelegramPaymentHandler) -> None:
    """Settle a refund, whoever made it."""
    await payments.handle_refund(fact)
