"""The bot's handlers before a sandbox: what people write, press and pay, and what they read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from aiogram import Bot
from aiogram.client.default import DefaultBotProperties
from aiogram.enums import ParseMode
from aiogram.types import Update

from bot.desk.wiring import make_desk
from bot.poll.intake import GetRawUpdates
from bot.settings.values import MESSAGES_PER_SECOND_MAX
from db.clock import Clock
from db.engine import Database
from payments.audit import fact_rows
from payments.channel import by_name
from payments.ledger import progress
from payments.notices import Admins
from payments.recording.updates import must_be_recorded, read_fact
from payments.sale.catalog import Catalog
from payments.sale.payload import PayloadSigner
from payments.stars import StarsChannel
from payments.stripe.api import StripeApi
from payments.stripe.cards import CardChannel
from payments.subscriptions.chain import Terms
from sandbox.callbacks import Press
from sandbox.checkout import Payment
from sandbox.client import SandboxClient
from sandbox.messages import ChatMessage
from sandbox.people import Group, Person
from sandbox.server import running_sandbox
from sandbox.settings import PROVIDER_TOKEN, Settings
from sandbox.shapes import Json
from tests.support.bots import talking_bot
from tests.support.money import CATALOG
from tests.support.timings import PATIENT

RICH: Final = 100_000
SUPPORT_CONTACT: Final = "Ann & Bob <help@shop.example>"
_TERMS: Final = Terms()


@dataclass(frozen=True, slots=True)
class People:
    """The people of the chats: two buyers, an admin, the admins' group with all of them in it, and a stranger group."""

    buyer: Person
    other: Person
    admin: Person
    desk: Group
    elsewhere: Group


class Chats:
    """Somebody's chats with the bot, served update by update; `settle` does what is due in between."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that a desk is made of, wired in one place
        self,
        client: SandboxClient,
        now: Clock,
        bot: Bot,
        database: Database,
        catalog: Catalog,
        people: People,
        terms: Terms = _TERMS,
        signer: PayloadSigner | None = None,
        stripe: StripeApi | None = None,
    ) -> None:
        # The next desk, under another token or on another database, before the same Telegram.
        self.signed_by = partial(Chats, client, now, bot, database, catalog, people, terms)
        self.on = partial(Chats, client, now, bot, catalog=catalog, people=people, terms=terms)
        self.again = partial(self.on, database, signer=signer, stripe=stripe)
        self.people = people
        self.client = client
        self.bot = bot
        self.database = database
        self.signer = signer or PayloadSigner(bot.token)
        self.is_clock_broken = False
        self._now = now
        self.admins = Admins((people.admin.id,), people.desk.id)
        cards = [] if stripe is None else [CardChannel(stripe)]
        self.desk = make_desk(
            bot=bot,
            database=database,
            catalog=catalog,
            signer=self.signer,
            clock=self.clock,
            channels=by_name(StarsChannel(bot), *cards),
            admins=self.admins,
            terms=terms,
            payment_token=None if stripe is None else PROVIDER_TOKEN,
            support_contact=SUPPORT_CONTACT,
            messages_per_second=MESSAGES_PER_SECOND_MAX,
            timings=PATIENT,
        )
        self.worker, self.keeper = self.desk.worker, self.desk.keeper
        self._outbox, self._dispatcher = self.desk.outbox, self.desk.dispatcher
        self._offset = 0

    def clock(self) -> datetime:
        """Tell the sandbox's time, or raise what no handler expects."""
        if self.is_clock_broken:
            raise RuntimeError("the clock of the secret system stands still")
        return self._now()

    def stop_clock(self) -> None:
        """Let the desk's time stand still; the sandbox's goes on."""
        moment = self._now()
        self._now = lambda: moment

    async def say(
        self, sender: Person, text: str, *, group: Group | None = None, anonymous: bool = False
    ) -> list[ChatMessage]:
        """Let somebody write, and return what the bot says to it in that chat."""
        chat_id = group.id if group else None
        sent = await self.client.send_text(sender.id, text, chat_id=chat_id, anonymous=anonymous)
        await self.serve()
        return await self.said(sent.chat_id, after=sent.message_id)

    async def said(self, chat_id: int, *, after: int = 0) -> list[ChatMessage]:
        """Return the bot's messages in a chat."""
        return [each for each in await self.client.chat(chat_id) if each.by_bot and each.message_id > after]

    async def answer(self, sender: Person, text: str, *, group: Group | None = None) -> ChatMessage:
        """Let somebody write, and return the bot's one message to it."""
        [message] = await self.say(sender, text, group=group)
        return message

    async def press(self, presser: Person, message: ChatMessage, *, text: str) -> Press:
        """Let somebody press the button with this text, and return how it was answered."""
        chat_id = message.chat_id
        press = await self.client.press(presser.id, message.message_id, text=text, chat_id=chat_id)
        await self.serve()
        return await self.client.press_answer(press.id)

    async def press_altered(self, presser: Person, message: ChatMessage, data: str) -> Press:
        """Let an altered app send any data from below a message."""
        press = await self.client.press_stale(presser.id, message.message_id, data)
        await self.serve()
        return await self.client.press_answer(press.id)

    async def pay(self, payer: Person, invoice: ChatMessage, card: str | None = None) -> Payment:
        """Let somebody press Pay, and see it through to its end, notices and all."""
        payment = await self.client.start_payment(
            payer.id, message_id=invoice.message_id, chat_id=invoice.chat_id, card=card
        )
        await self.serve()
        payment = await self.client.payment_end(payment.id)
        await self.settle()
        return payment

    async def buy(self, buyer: Person, code: str) -> str:
        """Let somebody buy a plan, and return the charge id."""
        payment = await self.pay(buyer, await self.answer(buyer, f"/buy {code}"))
        assert payment.charge_id is not None
        return payment.charge_id

    async def send(self, sender: Person, **content: object) -> list[ChatMessage]:
        """Let somebody send a message with any content, and return what the bot says to it in the private chat."""
        before = len(await self.client.chat(sender.id))
        await self.push({"message": self._message(sender, **content)})
        return [each for each in (await self.client.chat(sender.id))[before:] if each.by_bot]

    async def write_through(self, bot: Bot, sender: Person, text: str, group: Group | None = None) -> None:
        """Serve what somebody writes, in a group if one is named, and answer it with another bot."""
        where = {} if group is None else {"chat": group.chat()}
        update = {"update_id": 1, "message": self._message(sender, text=text) | where}
        await self._dispatcher.feed_update(bot, Update.model_validate(update, context={"bot": bot}), fact=None)

    def _message(self, sender: Person, **content: object) -> Json:
        head = {"message_id": 999, "date": int(self.clock().timestamp()), "from": sender.user(), "chat": sender.chat()}
        return head | content

    async def push(self, update: Json) -> None:
        """Serve an update as it is given."""
        await self.client.push_raw(update)
        await self.serve()

    async def settle(self) -> None:
        """Do all that is due: updates, refunds, subscriptions, notices."""
        await self.serve()
        while await self.worker.work_once() + await self.keeper.work_once() + await self._outbox.deliver_once():
            await self.serve()

    async def reconcile(self) -> None:
        """Compare with Telegram's ledger, and do what is due then."""
        await self.desk.reconciliation.run()
        await self.settle()

    async def rebuild(self) -> None:
        """Pass over Telegram's whole ledger, as a start on an empty database does."""
        async with self.database.transaction() as session:
            await progress.mark_unfinished(session, self.clock())
        await self.desk.whole_pass.run()

    async def serve(self) -> None:
        """Serve every update that waits, money first on record as the daemon has it."""
        while await self.client.updates_waiting():
            for raw in await self.bot(GetRawUpdates(offset=self._offset, timeout=0)):
                self._offset = raw["update_id"] + 1
                update = Update.model_validate(raw, context={"bot": self.bot})
                fact = read_fact(raw) if must_be_recorded(raw) else None
                if fact is not None:
                    async with self.database.transaction() as session:
                        await fact_rows.record(session, [fact], self.clock())
                await self._dispatcher.feed_update(self.bot, update, fact=fact)


@asynccontextmanager
async def running_chats(
    database: Database,
    catalog: Catalog = CATALOG,
    terms: Terms = _TERMS,
    *,
    stripe: StripeApi | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Chats]:
    """Run a sandbox with its people, and the handlers before it on its clock; `stripe` opens the channel of cards."""
    async with running_sandbox(settings) as server:
        html = DefaultBotProperties(parse_mode=ParseMode.HTML)
        async with talking_bot(server.url, server.token, html) as bot:
            people = await people_of(server.client)
            yield Chats(server.client, server.world.clock.now, bot, database, catalog, people, terms, stripe=stripe)


async def people_of(client: SandboxClient, mark: str = "") -> People:
    """Make the people of a sandbox; `mark` ends their names, where others are there already."""
    buyer = await client.add_person(f"Ann{mark}", username="Ann_B", balance_stars=RICH, started=True)
    other = await client.add_person(f"Bob{mark}", balance_stars=RICH, started=True)
    admin = await client.add_person(f"Max{mark}", started=True)
    ids = [buyer.id, other.id, admin.id]
    desk = await client.add_group(f"Desk{mark}", member_ids=ids, admin_ids=[admin.id])
    elsewhere = await client.add_group(f"Elsewhere{mark}", member_ids=ids, admin_ids=[admin.id])
    return People(buyer, other, admin, desk, elsewhere)
