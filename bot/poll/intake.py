"""The intake of updates: fetches a batch, records its money, confirms it to Telegram, and dispatches its updates.

The offset of the next getUpdates confirms an update (Bot API, getUpdates), and the offset passes money only after the
audit row is committed. The intake fetches updates raw and validates them one by one, so that one which
aiogram refuses does not hold up the others.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final

from aiogram import Bot
from aiogram.exceptions import ClientDecodeError
from aiogram.methods import TelegramMethod
from aiogram.types import Update
from loguru import logger
from pydantic import ValidationError

from bot.poll.lanes import Lanes
from bot.poll.rhythm import PollRhythm
from bot.poll.unreadable_batch import TRIES, first_update_id, remains
from bot.poll.update_ids import RawUpdate, TakenIds
from db.timings import PRODUCTION, Timings
from payments.audit.facts import Fact
from payments.recording.recorder import Recorder
from payments.recording.updates import must_be_recorded
from payments.telegram_errors import TELEGRAM_ERRORS

ALLOWED_UPDATES: Final = ("message", "callback_query", "pre_checkout_query", "subscription")
"""Sent with every poll, because Telegram keeps the list of an older run (Bot API, getUpdates)."""

BATCH_MAX: Final = 100
POLL_SECONDS: Final = 30
POLL_MARGIN_SECONDS: Final = 10
CONFIRM_SECONDS: Final = 3

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
    """getUpdates with a raw result, so that an odd update is no error of the whole batch."""

    __returning__ = list[Any]
    __api_method__ = "getUpdates"

    offset: int | None = None
    limit: int = BATCH_MAX
    timeout: int = POLL_SECONDS
    allowed_updates: tuple[str, ...] = ALLOWED_UPDATES


class Intake:
    """Takes updates from Telegram, one batch at a call; bot/poll/polling.py repeats it."""

    def __init__(self, bot: Bot, recorder: Recorder, lanes: Lanes, timings: Timings = PRODUCTION) -> None:
        self._bot = bot
        self._recorder = recorder
        self._lanes = lanes
        self._timings = timings
        self._offset: int | None = None
        self._told: int | None = None
        self._polled_at = 0.0
        self._taken = TakenIds()
        self._rhythm = PollRhythm(POLL_SECONDS)
        self._limit = BATCH_MAX
        self._unreadable: tuple[int, int] | None = None

    async def poll_once(self) -> None:
        """Fetch a batch and take it in. Raises aiogram's errors when Telegram is away or refuses."""
        offset = self._offset
        await self.take(await self._fetch())
        if self._offset == offset:
            await self._sleep_since_poll(self._timings.empty_poll_pause_seconds)

    async def _fetch(self) -> Sequence[Any]:
        poll = GetRawUpdates(offset=self._offset, limit=self._limit, timeout=self._rhythm.seconds)
        self._told = self._offset
        now = asyncio.get_running_loop().time
        self._polled_at = now()
        try:
            batch = await self._bot(poll, request_timeout=poll.timeout + POLL_MARGIN_SECONDS)
            _check(batch)
        except TELEGRAM_ERRORS as error:
            self._told = None
            if self._rhythm.is_idle(error, now() - self._polled_at, poll.timeout):
                return ()
            if isinstance(error, ClientDecodeError) and await self._evade(error):
                return ()
            raise
        self._rhythm.answered()
        self._limit = min(BATCH_MAX, 4 * self._limit)
        self._unreadable = None
        return batch

    async def _evade(self, error: ClientDecodeError) -> bool:
        """Pass by an update that makes an answer unreadable; False: no answer of Telegram's, or one to try again."""
        update_id = first_update_id(error)
        if update_id is None or update_id < (self._offset or 0):
            return False
        return self._shrink_batch() or await self._skip_unreadable(update_id, error)

    def _shrink_batch(self) -> bool:
        """Fetch one update at a call from now on; False: the calls do so already."""
        if self._limit == 1:
            return False
        logger.warning("a batch of updates is unreadable: the updates are fetched one by one")
        self._limit = 1
        return True

    async def _skip_unreadable(self, update_id: int, error: ClientDecodeError) -> bool:
        """Skip an update after three polls for it alone, with its readable rest in quarantine; False: not yet."""
        known_id, tries = self._unreadable or (update_id, 0)
        self._unreadable = update_id, tries + 1 if known_id == update_id else 1
        if self._unreadable[1] < TRIES or update_id not in await self._recorder.record([remains(update_id, error)]):
            return False
        logger.bind(update_id=update_id).error("an update is unreadable and is skipped")
        self._taken.add(update_id)
        self._offset = update_id + 1
        self._unreadable = None
        return True

    async def _sleep_since_poll(self, seconds: float) -> None:
        left_seconds = self._polled_at + seconds - asyncio.get_running_loop().time()
        if left_seconds > 0:
            await asyncio.sleep(left_seconds)

    async def confirm(self) -> None:
        """Confirm the taken updates to Telegram, at the end of a run.

        It sends no offset twice, because Telegram holds a second poll at one offset for three seconds.
        """
        if self._offset != self._told:
            last = GetRawUpdates(offset=self._offset, limit=1, timeout=0)
            await self._bot(last, request_timeout=CONFIRM_SECONDS)

    async def take(self, batch: Sequence[RawUpdate]) -> None:
        """Take in a batch of updates.

        1. Drop updates without a usable id; money among them gets an id of its own.
        2. Dispatch the pre-checkouts, because a buyer waits.
        3. Record the updates that bear money, within the recorder's deadline.
        4. Move the offset past the batch, or to the first update with money that is not on record because the
           database is away.
        5. Dispatch the other updates, and the recorded money with its facts.
        6. While money waits, pause before the next poll at the same offset.

        It dispatches an update that comes again only once.
        """
        updates = self._taken.usable(batch)
        is_known = all(raw["update_id"] in self._taken for raw in updates)
        for raw in updates:
            if "pre_checkout_query" in raw:
                self._serve(raw)
        money = [raw for raw in updates if must_be_recorded(raw) and raw["update_id"] not in self._taken]
        recorded = await self._recorder.record(money) if money else {}
        waiting = {raw["update_id"] for raw in money} - recorded.keys()
        offset = self._behind(updates, waiting)
        if not is_known or self._offset is None:
            self._offset = offset
        elif offset is not None:
            # No update is new: a cached answer must not move the offset back.
            self._offset = max(offset, self._offset)
        for raw in updates:
            if not must_be_recorded(raw):
                self._serve(raw)
            elif raw["update_id"] in recorded:
                self._serve_money(raw, recorded[raw["update_id"]])
        if waiting:
            await self._sleep_since_poll(self._timings.same_offset_pause_seconds)

    def _behind(self, updates: Sequence[RawUpdate], waiting: Collection[int]) -> int | None:
        """Return the offset behind a batch, or behind the part of it before the first update that is not recorded."""
        offset = self._offset
        for raw in updates:
            update_id: int = raw["update_id"]
            if update_id in waiting:
                return offset if update_id < 0 else update_id
            if update_id >= 0:
                offset = update_id + 1
        return offset

    def _serve_money(self, raw: RawUpdate, fact: Fact | None) -> None:
        self._taken.add(raw["update_id"])
        if fact is None:
            return
        update = self._validated(_bare(raw))
        if update is not None:
            self._lanes.money(update, fact)

    def _serve(self, raw: RawUpdate) -> None:
        if raw["update_id"] in self._taken:
            return
        self._taken.add(raw["update_id"])
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
        # All anonymous admins of all groups share one user, so the group counts as the sender.
        sender_key = (update.message.sender_chat if update.message else None) or user
        if user is not None and sender_key is not None and not self._lanes.chatter(sender_key.id, update):
            logger.bind(telegram_id=user.id).debug("an update is dropped: the lane is full")

    def _validated(self, raw: RawUpdate) -> Update | None:
        try:
            return Update.model_validate(raw, context={"bot": self._bot})
        except ValidationError as error:
            # The values are a person's message, and stay out of the log.
            fields = sorted({".".join(map(str, each["loc"])) for each in error.errors()})
            logger.bind(update_id=raw["update_id"]).warning("an update is unreadable and is skipped: {}", fields)
            return None


def _check(batch: object) -> None:
    """Check the answer to a poll. Raises ClientDecodeError for one that is no list.

    Such an answer counts as unreadable, because it is not Telegram's.
    """
    if not isinstance(batch, list):
        raise ClientDecodeError("no list of updates", TypeError(type(batch).__name__), None)


def _bare(raw: RawUpdate) -> RawUpdate:
    """Cut an update that bears money down to the fields that route it.

    The handler gets the fact beside it.
    """
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
