"""The channel of Telegram Stars."""

from aiogram import Bot
from aiogram.exceptions import (
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
)

from payments.channel import RefundOrder
from payments.errors import ChannelAwayError, ChannelPauseError, RefusedByChannelError
from payments.lease import CALL_SECONDS
from payments.methods import STARS, Method

_AWAY = (TelegramNetworkError, TelegramServerError)
_FINAL = (TelegramBadRequest, TelegramForbiddenError, TelegramNotFound)


class StarsChannel:
    """Gives Stars back over the Bot API."""

    method: Method = STARS

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def refund(self, order: RefundOrder) -> None:
        """Call refundStarPayment, which gives back whole charges only, and each once.

        `CHARGE_ALREADY_REFUNDED` is success: an answer may have been lost. Raises ChannelError, and aiogram's other
        errors as they are.
        """
        try:
            await self._bot.refund_star_payment(
                user_id=order.buyer_telegram_id,
                telegram_payment_charge_id=order.charge_id,
                request_timeout=CALL_SECONDS,
            )
        except TelegramRetryAfter as error:
            raise ChannelPauseError(error.retry_after, str(error)) from error
        except _AWAY as error:
            raise ChannelAwayError(f"{type(error).__name__}: {error}") from error
        except _FINAL as error:
            if "CHARGE_ALREADY_REFUNDED" not in error.message:
                raise RefusedByChannelError(error.message, f"{type(error).__name__}: {error}") from error
