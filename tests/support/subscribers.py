"""A subscriber before the bot's handlers and a sandbox, over months of the sandbox's time."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select

from db.tables import Subscription, User
from entitlements import EntitlementService
from sandbox.checkout import Payment
from sandbox.people import Person
from sandbox.subscriptions import Subscription as AtTelegram
from tests.support.chats import Chats

MONTH: Final = timedelta(days=30)
A_MOMENT: Final = timedelta(minutes=5)


class Subscriber:
    """Somebody with subscriptions: what they do, what they are told, and what is kept of it."""

    def __init__(self, chats: Chats, person: Person) -> None:
        self.chats = chats
        self.client = chats.client
        self.person = person
        self._read = 0

    async def link(self, code: str = "auto") -> str:
        """Send /buy and return the link below the button."""
        offered = await self.chats.answer(self.person, f"/buy {code}")
        [button] = offered.buttons()
        url: str = button["url"]
        return url

    async def pay(self, link: str) -> Payment:
        """Press Pay in the window of a link, and see it through to its end, notices and all."""
        payment = await self.client.start_payment(self.person.id, offer=link)
        await self.chats.serve()
        payment = await self.client.payment_end(payment.id)
        await self.chats.settle()
        return payment

    async def subscribe(self, code: str = "auto") -> str:
        """Subscribe, and return the first charge's id."""
        payment = await self.pay(await self.link(code))
        assert payment.charge_id is not None, payment.error_message
        return payment.charge_id

    async def press(self, text: str) -> None:
        """Press a button below the bot's latest message, or below /status where that has it."""
        message = (await self.chats.said(self.person.id))[-1]
        if text not in {button["text"] for button in message.buttons()}:
            message = await self.chats.answer(self.person, "/status")
        await self.chats.press(self.person, message, text=text)

    async def pass_time(self, time: timedelta) -> None:
        """Let time pass, and everything that is due by then happen."""
        await self.client.move_clock(time.total_seconds())
        await self.chats.settle()

    async def pass_until(self, moment: datetime) -> None:
        """Let time pass until a moment of the sandbox's clock."""
        await self.pass_time(moment - self.chats.clock())

    async def at_telegram(self) -> AtTelegram:
        """Return the one subscription as Telegram has it."""
        [found] = await self.client.subscriptions(self.person.id)
        return found

    async def rows(self) -> list[Subscription]:
        """Return what is kept of the subscriptions, in the order in which they were made."""
        query = select(Subscription).join(User, User.id == Subscription.user_id)
        query = query.where(User.telegram_id == self.person.id).order_by(Subscription.current_period_end)
        async with self.chats.database.reading() as session:
            return list(await session.scalars(query))

    async def row(self) -> Subscription:
        """Return what is kept of the one subscription."""
        [found] = await self.rows()
        return found

    async def has_access(self, entitlement: str = "premium", at: datetime | None = None) -> bool:
        """Tell whether access is open at a moment, now if none is given."""
        async with self.chats.database.reading() as session:
            user_id = await session.scalar(select(User.id).where(User.telegram_id == self.person.id))
            assert user_id is not None
            return await EntitlementService(session).has_entitlement(user_id, entitlement, at or self.chats.clock())

    async def told(self) -> list[str]:
        """Return the texts that the bot has sent since the last look; Telegram's own messages have none."""
        messages = (await self.chats.said(self.person.id))[self._read :]
        self._read += len(messages)
        return [message.text() for message in messages if message.text()]
