"""The check of prices: Telegram makes an invoice link for each, and nobody sees it. Imports aiogram."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from aiogram import Bot
from aiogram.exceptions import ClientDecodeError, TelegramBadRequest, TelegramRetryAfter
from aiogram.types import LabeledPrice

from bot.chat.storefront import is_invoice_refused
from bot.console.doctor.checks import Check, failure, warning
from db.states import STARS_CURRENCY
from payments.sale.catalog import Catalog, Plan
from payments.subscriptions.chain import PERIOD

PAYLOAD: Final = "doctor"
"""A payload of no form of ours: the desk declines whoever pays by such a link."""


async def look_at_prices(bot: Bot, catalog: Catalog, provider_token: str | None) -> AsyncIterator[Check]:
    """Have Telegram make a link for each price on sale, for cards with the token; yield the prices that it refuses.

    A link needs no chat, and Telegram tells nobody of it (Bot API, createInvoiceLink). Raises aiogram's errors for an
    outage.
    """
    for plan in catalog.on_sale:
        ways: Mapping[str, int] = {STARS_CURRENCY: plan.price_stars}
        if provider_token is not None and not plan.subscription:
            ways = {**ways, **plan.prices}
        for currency, amount in ways.items():
            try:
                await _try(bot, plan, currency, amount, provider_token)
            except TelegramRetryAfter as error:
                yield warning("prices", f"Telegram asks for a pause of {error.retry_after} s", "try again later")
                return
            except ClientDecodeError:
                # The call went through, so Telegram did not refuse; nothing else is known of the price.
                mend = "does TELEGRAM_API_URL lead to a Bot API server? Buy something for one Star to be sure"
                yield warning("prices", "were not tried: what came back is no link of an invoice", mend)
                return
            except TelegramBadRequest as error:
                if not is_invoice_refused(error):
                    raise
                mend = (
                    "change it in the catalog" if currency == STARS_CURRENCY else "change it, or look at PAYMENT_TOKEN"
                )
                words = f"{amount} (smallest unit) is refused by Telegram: {error.message}"
                yield failure(f"price of {plan.code} in {currency}", words, mend)


async def _try(bot: Bot, plan: Plan, currency: str, amount: int, provider_token: str | None) -> None:
    await bot.create_invoice_link(
        title=plan.title,
        description=plan.description,
        payload=PAYLOAD,
        currency=currency,
        prices=[LabeledPrice(label=plan.title, amount=amount)],
        provider_token="" if currency == STARS_CURRENCY else provider_token,
        subscription_period=int(PERIOD.total_seconds()) if plan.subscription else None,
    )
