"""A Telegram that answers editUserStarSubscription as a test says, and the loop that asks it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, cast

from aiogram.exceptions import TelegramBadRequest
from aiogram.methods import EditUserStarSubscription

from payments.effects import OutwardEffects
from payments.pause import Pause
from payments.subscriptions.editor import RenewalEditor
from payments.subscriptions.keeper import SubscriptionKeeper
from payments.subscriptions.reminders import Reminders
from tests.support.desk import Desk
from tests.support.money import ADMINS, CATALOG, SIGNER

if TYPE_CHECKING:
    from aiogram import Bot


class Answering:
    """The part of a Bot that changes renewals. `words` refuse a charge by its id, "" any other; None: it is done.

    `during` happens while a call is under way. `asked` keeps the calls.
    """

    def __init__(
        self, words: str | Mapping[str, str] | None = None, during: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._words = {"": words} if isinstance(words, str) else dict(words or {})
        self._during = during
        self.asked: list[tuple[str, bool]] = []

    async def edit_user_star_subscription(
        self, *, user_id: int, telegram_payment_charge_id: str, is_canceled: bool, request_timeout: int
    ) -> None:
        """Answer one call."""
        assert request_timeout > 0
        self.asked.append((telegram_payment_charge_id, is_canceled))
        if self._during is not None:
            await self._during()
        words = self._words.get(telegram_payment_charge_id, self._words.get(""))
        if words is not None:
            method = EditUserStarSubscription(
                user_id=user_id, telegram_payment_charge_id=telegram_payment_charge_id, is_canceled=is_canceled
            )
            raise TelegramBadRequest(method, f"Bad Request: {words}")


def editor(desk: Desk, telegram: Answering | str | None = None) -> RenewalEditor:
    """Return what changes renewals at a Telegram that answers so."""
    answering = telegram if isinstance(telegram, Answering) else Answering(telegram)
    effects = OutwardEffects(desk.clock, ADMINS)
    return RenewalEditor(
        desk.database,
        cast("Bot", answering),
        desk.settlement.subscriptions,
        effects,
        desk.clock,
        pause=Pause(desk.clock),
    )


def keeper(desk: Desk, telegram: Answering | str | None = None, remind_days: int = 0) -> SubscriptionKeeper:
    """Return the loop over subscriptions, before a Telegram that answers so."""
    reminders = Reminders(desk.database, CATALOG, SIGNER, desk.clock, remind_days)
    book = desk.settlement.subscriptions
    return SubscriptionKeeper(desk.database, book, editor(desk, telegram), reminders, desk.clock, lambda: None)
