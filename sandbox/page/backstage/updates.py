"""The page's card of the bot's updates: those that wait, and the fate of the others."""

from datetime import datetime
from itertools import islice

from sandbox.client import SandboxClient
from sandbox.page.backstage.cards import ROWS_SHOWN, as_json, card, entry, list_of_newest, object_in, second
from sandbox.page.elements import line
from sandbox.page.keyed_rows import KeyedRows
from sandbox.shapes import Json
from sandbox.updates import Fate, UpdateRecord

_TOPICS = {"update"} | {fate.value for fate in Fate}


class UpdatesCard:
    """The card of the newest hundred updates."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        with card("Updates") as head:
            with head:
                self._waiting = line("", "muted")
            self._rows = KeyedRows[tuple[int, datetime], UpdateRecord](list_of_newest(), _build)

    async def refresh(self) -> None:
        """Refresh the updates' card."""
        waiting = await self._client.updates_waiting()
        past = await self._client.updates_past()
        self._waiting.set_text(f"{len(waiting)} waiting")
        newest = list(islice(reversed([*past, *waiting]), ROWS_SHOWN))
        self._rows.show({(record.id, record.created_at): record for record in reversed(newest)})

    async def update(self, events: list[Json]) -> None:
        """Update the updates' card when an update came, or met its fate."""
        if any(event["topic"] in _TOPICS for event in events):
            await self.refresh()


def _build(record: UpdateRecord) -> None:
    with entry() as summary:
        with summary:
            line(second(record.created_at), "muted when")
            line(_update_name(record))
            line(str(object_in(record.update, record.kind).get("text", "")), "grow muted")
            line(record.fate.value.replace("_", " "), f"badge state-{record.fate}")
        as_json(record.update)


def _update_name(record: UpdateRecord) -> str:
    """Name an update by its kind, or by the payment in its message."""
    body = object_in(record.update, record.kind)
    money = next((name for name in ("successful_payment", "refunded_payment") if name in body), None)
    return money or record.kind
