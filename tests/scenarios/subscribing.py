"""Subscriptions in a shop under faults: people subscribe, cancel and resume, Telegram renews or fails to."""

from collections import defaultdict
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Final

from aiogram.types import LabeledPrice
from sqlalchemy import select

from db.states import STARS_CURRENCY, Renewal
from db.tables import Subscription as Row
from db.tables import User
from payments.sale.catalog import order_of
from payments.subscriptions import listing
from payments.subscriptions.chain import PERIOD
from sandbox.checkout import PaymentState
from sandbox.remote.transport import SandboxError
from sandbox.subscriptions import Subscription, SubscriptionState
from tests.scenarios.books import Books
from tests.support.money import plan

if TYPE_CHECKING:
    from tests.scenarios.faulty_shop import Shop

LINKS_MAX: Final = 6


class Subscribing:
    """The acts of subscribers and Telegram, and the invariants that follow."""

    def __init__(self, shop: "Shop") -> None:
        self._shop = shop
        self._links: list[tuple[int, str]] = []

    async def subscribe(self, buyer: int) -> None:
        """Let a buyer get a link of a subscription and pay on it."""
        person, sold = self._shop.buyers[buyer], plan("auto")
        link = await self._shop.steady.create_invoice_link(
            title=sold.title,
            description=sold.description,
            payload=self._shop.life.signer.sign(order_of(sold, person.id)),
            currency=STARS_CURRENCY,
            prices=[LabeledPrice(label=sold.title, amount=sold.price_stars)],
            provider_token="",
            subscription_period=int(PERIOD.total_seconds()),
        )
        self._links = [*self._links[1 - LINKS_MAX :], (buyer, link)]
        await self._pay(buyer, link)

    async def pay_again(self, which: int) -> None:
        """Let a link that was paid before be paid again."""
        if self._links:
            await self._pay(*self._links[which % len(self._links)])

    async def _pay(self, buyer: int, link: str) -> None:
        payment = await self._shop.client.start_payment(self._shop.buyers[buyer].id, offer=link)
        while (await self._shop.client.payment(payment.id)).state is PaymentState.ASKING:
            await self._shop.take(lambda _: None, is_handled=False)

    async def renew(self, which: int, *, fails: bool) -> None:
        """Let Telegram try a renewal now; it takes the price, or fails to."""
        if (found := await self._pick(which)) is None:
            return
        if fails:
            await self._shop.client.fail_renewals(found.id)
        await self._try(self._shop.client.renew(found.id))

    async def change(self, which: int, *, is_canceled: bool) -> None:
        """Let the subscriber cancel, or resume, in Telegram's own settings."""
        if (found := await self._pick(which)) is not None:
            client = self._shop.client
            await self._try(client.cancel_subscription(found.id) if is_canceled else client.take_up_again(found.id))

    async def wish(self, which: int, renewal: Renewal) -> None:
        """Let the subscriber press a button below /status."""
        async with self._shop.life.database.transaction() as session:
            query = select(Row, User.telegram_id).join(User, User.id == Row.user_id).order_by(Row.first_charge_id)
            rows = (await session.execute(query)).all()
            if rows:
                row, telegram_id = rows[which % len(rows)]
                await listing.record_wish(session, row.id, telegram_id or 0, renewal, self._shop.life.clock())

    async def _pick(self, which: int) -> Subscription | None:
        found = await self._shop.client.subscriptions()
        return found[which % len(found)] if found else None

    @staticmethod
    async def _try(change: Awaitable[Subscription]) -> None:
        try:
            await change
        except SandboxError:
            return

    async def check_end(self, books: Books) -> None:
        """Assert that no Star is taken any more that nobody wants taken."""
        renewing: defaultdict[int, list[str]] = defaultdict(list)
        for each in await self._shop.client.subscriptions():
            if each.state in {SubscriptionState.ACTIVE, SubscriptionState.FAILED}:
                renewing[each.user_id].append(each.id)
        async with self._shop.life.database.reading() as session:
            users: Sequence[User] = (await session.scalars(select(User))).all()
        for user in users:
            going_on = renewing[user.telegram_id or 0]
            assert len(going_on) <= 1, "two subscriptions that open the same are both renewed"
            if books.holds_for_life(user.id, "premium"):
                assert going_on == [], "what is held for life is renewed"
        refunded = {each.id for each in await self._shop.client.charges() if each.refunded_at is not None}
        allowed = {row.first_charge_id for row in books.subscriptions if row.renewal_wanted == Renewal.ALLOWED}
        for first_ids in renewing.values():
            assert not refunded & set(first_ids) - allowed, "a subscription that was given back is renewed"
