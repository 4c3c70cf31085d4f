"""The ids of updates: usable ones, stand-ins for missing ones, and those of updates taken before."""

import zlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from loguru import logger

from payments.recording.updates import must_be_recorded

RawUpdate = dict[str, Any]

UPDATE_ID_MAX: Final = 2**31 - 2
"""Telegram's server cuts a larger offset down to 32 bits, and would confirm updates that were never fetched."""
TAKEN_MAX: Final = 10_000


class TakenIds:
    """The ids of the latest taken updates: the highest is not enough, as ids restart after a quiet week (Bot API)."""

    def __init__(self) -> None:
        self._ids: OrderedDict[int, None] = OrderedDict()

    def __contains__(self, update_id: int) -> bool:
        return update_id in self._ids

    def add(self, update_id: int) -> None:
        """Remember an update, and forget the oldest of too many."""
        self._ids[update_id] = None
        if len(self._ids) > TAKEN_MAX:
            self._ids.popitem(last=False)

    def usable(self, batch: Iterable[Any]) -> list[RawUpdate]:
        """Return the usable updates of a batch, each with an id that is an int.

        It skips an update without an id, and logs that once. It keeps money without one, because a charge has an id of
        its own, and gives it a negative number made of its content, the same one when it comes again.
        """
        return [raw for each in batch if (raw := self._with_id(each)) is not None]

    def _with_id(self, raw: Any) -> RawUpdate | None:
        if isinstance(raw, dict) and is_usable(raw.get("update_id")):
            return raw
        stand_in = _stand_in(raw)
        is_money = isinstance(raw, dict) and must_be_recorded(raw)
        if stand_in not in self:
            what = type(raw.get("update_id")).__name__ if isinstance(raw, dict) else f"an update that is {type(raw)}"
            fate = "its money is recorded all the same" if is_money else "it is skipped"
            logger.warning("an update has no id that Telegram gives ({}): {}", what, fate)
        if is_money:
            return {**raw, "update_id": stand_in}
        self.add(stand_in)
        return None


def is_usable(update_id: object) -> bool:
    """Tell whether an update's id is one that Telegram gives: a whole number that an offset can pass."""
    return type(update_id) is int and 0 <= update_id <= UPDATE_ID_MAX


def _stand_in(raw: object) -> int:
    try:
        said = repr(raw)
    except RecursionError:
        said = ""
    return -1 - zlib.crc32(said.encode(errors="replace"))
