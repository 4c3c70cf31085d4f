"""The page's card of the bot's calls to the Bot API, with their answers; the newest on top."""

from collections import deque

from sandbox.calls import Call
from sandbox.client import SandboxClient
from sandbox.page.backstage.cards import ROWS_SHOWN, as_json, card, entry, list_of_newest, second
from sandbox.page.elements import line
from sandbox.page.keyed_rows import KeyedRows
from sandbox.shapes import Json

_POLL = "getupdates"
_OK = 200


class CallsCard:
    """The card of the last hundred calls; of polls it shows only those that failed."""

    def __init__(self, client: SandboxClient) -> None:
        self._client = client
        self._last = 0
        self._calls: deque[Call] = deque(maxlen=ROWS_SHOWN)
        with card("The bot's calls") as head:
            with head:
                line("without its polls", "muted")
            self._rows = KeyedRows[int, Call](list_of_newest(), _build)

    async def refresh(self) -> None:
        """Add new calls to the calls' card."""
        for call in await self._client.calls(after=self._last):
            self._last = call.number
            if call.method.lower() != _POLL or call.status != _OK:
                self._calls.append(call)
        self._rows.show({call.number: call for call in self._calls})

    async def update(self, events: list[Json]) -> None:
        """Update the calls' card after a call."""
        if any(event["topic"] == "call" for event in events):
            await self.refresh()


def _build(call: Call) -> None:
    with entry() as summary:
        with summary:
            line(second(call.at), "muted when")
            line(call.method)
            line(call.args.get("text") or call.args.get("title") or "", "grow muted")
            line(f"{call.took_ms:,} ms", "muted when")
            line(str(call.status) if call.status else "cut", "badge" if call.status == _OK else "badge state-failed")
        as_json({"arguments": call.args, "answer": call.answer})
