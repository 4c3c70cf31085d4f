"""The poll: fetch, record, confirm, dispatch.

Telegram is told that an update arrived by the offset of the next getUpdates (Bot API, getUpdates), and the offset moves
past money only after its audit row is committed. Updates are fetched raw and validated one by one, so that one that
aiogram refuses does not hold up the others.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiogram import Bot
from aiogram.methods import TelegramMethod
from aiogram.types import Update
from loguru import logger
from pydantic import ValidationError

from bot.lanes import Lanes
from payments.facts import Fact
from payments.incoming import bears_money
from payments.recorder import Recorder

ALLOWED_UPDATES: Final = ("message", "callback_query", "pre_checkout_query", "subscription")
"""Asked for at every poll: Telegram would keep the list of an older run (Bot API, getUpdates)."""

BATCH_MAX: Final = 100
POLL_SECONDS: Final = 30
POLL_MARGIN_SECONDS: Final = 10
CONFIRM_SECONDS: Final = 3
AWAY_PAUSE_SECONDS: Final = 1.0
"""From poll to poll at one offset: Telegram throttles busier ones."""

RawUpdate = dict[str, Any]

_MONEY: Final = (
    "currency",
    "total_amount",
    "invoice_payload",
    "telegram_payment_charge_id",
    "provider_payment_charge_id",
)
_BARE: Final = {
    "chat": ("id", "type"),
    "from": ("id", "is_bot", "first_name"),
    "successful_payment": _MONEY,
    "refunded_payment": _MONEY,
}


class GetRawUpdates(TelegramMethod[list[RawUpdate]]):
    """getUpdates whose result is left as it came."""

    __returning__ = list[RawUpdate]
    __api_method__ = "getUpdates"

    offset: int | None = None
    limit: int = BATCH_MAX
    timeout: int = POLL_SECONDS
    allowed_updates: tuple[str, ...] = ALLOWED_UPDATES


class Intake:
    """Takes updates from Telegram, a batch at a time; bot/polling.py repeats it."""

    def __init__(self, bot: Bot, recorder: Recorder, lanes: Lanes) -> None:
        self._bot = bot
        self._recorder = recorder
        self._lanes = lanes
        self._offset: int | None = None
        self._told: int | None = None
        self._polled_at = 0.0
        self._seen: set[int] = set()

    async def poll_once(self) -> None:
        """Fetch a batch and take it. Raises aiogram's errors when Telegram is away or refuses."""
        poll = GetRawUpdates(offset=self._offset)
        self._told = self._offset
        self._polled_at = asyncio.get_running_loop().time()
        batch = await self._bot(poll, request_timeout=POLL_SECONDS + POLL_MARGIN_SECONDS)
        await self.take(batch)

    async def confirm(self) -> None:
        """Tell Telegram what was taken and take no more: for the end of a run.

        Not said twice: Telegram holds a second poll at one offset for three seconds.
        """
        if self._offset != self._told:
            last = GetRawUpdates(offset=self._offset, limit=1, timeout=0)
            await self._bot(last, request_timeout=CONFIRM_SECONDS)

    async def take(self, batch: Sequence[RawUpdate]) -> None:
        """Take a batch as Telegram orders it: pre-checkouts first, money on record before the offset passes it.

        While the database is away the offset stands before the first payment, and what is fetched again is served once.
        """
        if not batch:
            return
        for raw in batch:
            if "pre_checkout_query" in raw:
                self._serve(raw)
        money = [raw for raw in batch if bears_money(raw)]
        taken = await self._recorder.record(money) if money else {}
        waiting = [raw["update_id"] for raw in money if raw["update_id"] not in taken]
        self._offset = waiting[0] if waiting else batch[-1]["update_id"] + 1
        for raw in batch:
            if not bears_money(raw):
                self._serve(raw)
            elif raw["update_id"] in taken:
                self._serve_money(raw, taken[raw["update_id"]])
        self._seen = {update_id for update_id in self._seen if waiting and update_id >= waiting[0]}
        if waiting:
            await asyncio.sleep(self._polled_at + AWAY_PAUSE_SECONDS - asyncio.get_running_loop().time())

    def _serve_money(self, raw: RawUpdate, fact: Fact | None) -> None:
        if fact is None or raw["update_id"] in self._seen:
            return
        self._seen.add(raw["update_id"])
        update = self._validated(_bare(raw))
        if update is not None:
            self._lanes.money(update, fact)

    def _serve(self, raw: RawUpdate) -> None:
        if raw["update_id"] in self._seen:
            return
        self._seen.add(raw["update_id"])
        if not raw.keys() & set(ALLOWED_UPDATES):
            return
        update = self._validated(raw)
        if update is None:
            return
        if update.pre_checkout_query is not None:
            self._lanes.pre_checkout(update)
            return
        sender = update.message or update.callback_query
        user = sender.from_user if sender else None
        # All anonymous admins of all groups have one user between them.
        behind = (update.message.sender_chat if update.message else None) or user
        if user is not None and behind is not None and not self._lanes.chatter(behind.id, update):
            logger.bind(telegram_id=user.id).debug("an update was dropped: the lane is full")

    def _validated(self, raw: RawUpdate) -> Update | None:
        try:
            return Update.model_validate(raw, context={"bot": self._bot})
        except ValidationError as error:
            # The values stay out of the log: they are somebody's message.
            fields = sorted({".".join(map(str, each["loc"])) for each in error.errors()})
            logger.bind(update_id=raw["update_id"]).warning("an update cannot be read and is passed over: {}", fields)
            return None


def _bare(raw: RawUpdate) -> RawUpdate:
    """Leave of an update that bears money what names it: the handler has the fact, and nothing odd can hide it."""
    if "subscription" in raw:
        told = raw["subscription"]
        user = {"id": told["user"]["id"], "is_bot": False, "first_name": ""}
        bare_one = {"user": user} | {key: told[key] for key in ("invoice_payload", "state")}
        return {"update_id": raw["update_id"], "subscription": bare_one}
    message = raw["message"]
    bare = {key: message[key] for key in ("message_id", "date") if key in message}
    for name, fields in _BARE.items():
        part = message.get(name)
        if isinstance(part, dict):
            bare[name] = {key: part[key] for key in fields if key in part}
    return {"update_id": raw["update_id"], "message": bare}
