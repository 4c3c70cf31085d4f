"""A subscription as its subscriber sees it: its line in /status, its buttons, the question before a cancellation."""

import enum
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from markupsafe import Markup

from bot.chat.words import Words
from db.states import STARS_CURRENCY, Renewal, SubscriptionState
from db.tables import Subscription
from entitlements.fold import SLACK
from entitlements.service import Holding
from payments.payment_desk import is_over
from payments.sale.catalog import Catalog
from payments.telegram import TelegramPaymentHandler


class Wish(enum.StrEnum):
    """The wish of a subscriber who presses a button."""

    CANCEL = "cancel"
    """Asks the question first."""
    CANCEL_NOW = "cancel_now"
    KEEP = "keep"
    RESUME = "take_up"
    """Its value is in buttons of messages that stand in the chats, so the value stays."""


class SubscriptionButton(CallbackData, prefix="sub"):
    """The data of the buttons below subscriptions; `subscription_id` is `subscriptions.id`."""

    wish: Wish
    subscription_id: str


class SubscriptionPages:
    """The subscriptions of a chat's user: their texts and buttons, and the effect of a pressed button."""

    def __init__(self, payments: TelegramPaymentHandler, catalog: Catalog) -> None:
        self._payments = payments
        self._catalog = catalog

    async def press(self, wish: Wish, subscription_id: str, telegram_id: int) -> Subscription | None:
        """Carry out a subscription's button, and return the subscription; None: it is another user's, or out of date.

        Raises SQLAlchemy's errors when the database is away.
        """
        if wish in {Wish.CANCEL, Wish.KEEP}:
            row = await self._payments.find_subscription(subscription_id, telegram_id)
            return row if row is not None and not is_over(row) else None
        if wish is Wish.CANCEL_NOW:
            return await self._payments.cancel_renewal(subscription_id, telegram_id)
        return await self._payments.resume_renewal(subscription_id, telegram_id)

    async def is_done(self, wish: Wish, subscription_id: str, telegram_id: int) -> bool:
        """Tell whether a button's subscription is cancelled, or resumed, already.

        Raises SQLAlchemy's errors when the database is away.
        """
        row = await self._payments.find_subscription(subscription_id, telegram_id)
        if row is None:
            return False
        if wish is Wish.RESUME:
            return row.state == SubscriptionState.ACTIVE and row.renewal_wanted == Renewal.ALLOWED
        return is_over(row)

    def answer(self, words: Words, wish: Wish, row: Subscription) -> tuple[Markup, InlineKeyboardMarkup | None]:
        """Return the answer to a pressed subscription button: words, and the buttons below them."""
        title = self.title(row)
        match wish:
            case Wish.CANCEL:
                return self.question(words, row)
            case Wish.KEEP:
                return words.say("cancel.kept", title=title), None
            case Wish.CANCEL_NOW:
                return words.say("cancel.begun", title=title), None
            case Wish.RESUME:
                return words.say("resume.begun", title=title), None

    def title(self, row: Subscription) -> str:
        """Return a subscription's title: its plan's, or the code of a plan that the catalog lacks."""
        plan = self._catalog.get(row.plan)
        return plan.title if plan else row.plan

    def line(self, words: Words, row: Subscription) -> Markup:
        """Return the line in /status of a subscription that has not ended."""
        until = row.paid_until or row.current_period_end
        key = SubscriptionState(row.state).value
        if is_ending(row):
            key = "ending"
        elif row.state == SubscriptionState.FAILED:
            until += self._payments.grace
        return words.say(
            f"status.subscription.{key}",
            title=self.title(row),
            price=words.money(row.price_stars, STARS_CURRENCY),
            renews_at=words.date(row.current_period_end),
            access_until=words.date(until),
        )

    def until(self, holding: Holding, rows: Sequence[Subscription]) -> datetime | None:
        """Return the end of a subscription's access, without the slack behind it.

        The slack stays out because nobody bought it.
        """
        grace = self._payments.grace
        ends = {row.paid_until + more for row in rows if row.paid_until is not None for more in (timedelta(), grace)}
        without_slack = holding.expires_at - SLACK if holding.expires_at is not None else None
        return without_slack if without_slack in ends else holding.expires_at

    def button(self, words: Words, row: Subscription, for_life: AbstractSet[str]) -> InlineKeyboardButton | None:
        """Return a subscription's button: cancel it, resume it, or buy it again.

        None while it is ending, and when the user holds all that it opens `for_life`.
        """
        title = self.title(row)
        plan = self._catalog.get(row.plan)
        is_idle = row.state != SubscriptionState.ACTIVE and plan is not None and for_life >= set(plan.entitlements)
        if is_ending(row) or is_idle:
            return None
        if row.state == SubscriptionState.FAILED:
            return InlineKeyboardButton(text=words.plain("button.again", title=title), callback_data=row.plan)
        if row.state == SubscriptionState.CANCELED:
            return _button(words.plain("button.resume", title=title), Wish.RESUME, row)
        return _button(words.plain("button.cancel", title=title), Wish.CANCEL, row)

    def question(self, words: Words, row: Subscription) -> tuple[Markup, InlineKeyboardMarkup]:
        """Return the question that the bot asks before it cancels a subscription, and its two buttons."""
        title = self.title(row)
        if row.paid_until is None:
            text = words.say("cancel.question.unpaid", title=title)
        else:
            text = words.say("cancel.question", title=title, access_until=words.date(row.paid_until))
        answers = [
            [_button(words.plain("button.cancel_now"), Wish.CANCEL_NOW, row)],
            [_button(words.plain("button.keep"), Wish.KEEP, row)],
        ]
        return text, InlineKeyboardMarkup(inline_keyboard=answers)


def is_ending(row: Subscription) -> bool:
    """Tell whether the desk is telling Telegram not to renew a subscription."""
    return row.renewal_wanted == Renewal.CANCELED and row.due_at is not None


def _button(text: str, wish: Wish, row: Subscription) -> InlineKeyboardButton:
    data = SubscriptionButton(wish=wish, subscription_id=row.id).pack()
    return InlineKeyboardButton(text=text, callback_data=data)
