"""The Telegram Stars channel: refunds over the Bot API."""

from aiogram import Bot
from aiogram.exceptions import TelegramRetryAfter

from payments.channel import CALL_SECONDS, RefundOrder
from payments.errors import ChannelAwayError, ChannelPauseError, RefusedByChannelError
from payments.methods import STARS, Method
from payments.telegram_errors import TELEGRAM_ERRORS, in_words, is_refusal


class StarsChannel:
    """Refunds charges in Stars over the Bot API."""

    method: Method = STARS

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def refund(self, order: RefundOrder) -> None:
        """Call refundStarPayment, which refunds whole charges only, and each once.

        `CHARGE_ALREADY_REFUNDED` is success, because the desk may have lost the answer to an earlier call. Raises
        ChannelError.
        """
        try:
            await self._bot.refund_star_payment(
                user_id=order.buyer_telegram_id,
                telegram_payment_charge_id=order.charge_id,
                request_timeout=CALL_SECONDS,
            )
        except TelegramRetryAfter as error:
            raise ChannelPauseError(error.retry_after, str(error)) from error
        except TELEGRAM_ERRORS as error:
            if not is_refusal(error):
                raise ChannelAwayError(in_words(error)) from error
            if "CHARGE_ALREADY_REFUNDED" not in error.message:
                raise RefusedByChannelError(error.message, in_words(error)) from error
