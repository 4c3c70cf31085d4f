"""One thing that is asked of Stripe again and again, and what keeps it from being read: for the log and /healthz."""

from collections.abc import Awaitable, Callable

from loguru import logger

from db.errors import is_away
from payments.errors import ChannelError, ChannelPauseError, UnrecordableError
from payments.pause import SECONDS_MAX
from payments.stripe.trouble import TroubleAlert


class Attempts:
    """The attempts to read one kind of Stripe's objects. An outage is logged once, and once when it is over."""

    def __init__(self, objects: str, alert: TroubleAlert) -> None:
        """Prepare; `objects` names what is read, in the plural."""
        self._objects = objects
        self._alert = alert
        self.trouble: str | None = None
        """What keeps it from being read, in words without secrets; None: the last attempt worked."""

    async def make(self, read: Callable[[], Awaitable[None]]) -> float:
        """Try once; return for how long Stripe asks to be left alone, in seconds, an hour at most. Raises bugs."""
        try:
            await read()
        except ChannelPauseError as error:
            self._begin(error, "Stripe asks to be left alone for a while")
            await self._alert.note(error)
            return min(error.seconds, SECONDS_MAX)
        except Exception as error:
            is_stripe = isinstance(error, ChannelError | UnrecordableError)
            if not is_stripe and not is_away(error):
                raise
            self._begin(error, type(error).__name__)
            if is_stripe:
                await self._alert.note(error)
        else:
            if self.trouble is not None:
                logger.info("Stripe's {} are read again", self._objects)
            self.trouble = None
            self._alert.over()
        return 0

    def _begin(self, error: Exception, why: str) -> None:
        if self.trouble is None:
            logger.error("Stripe's {} cannot be read, trying on: {}", self._objects, error)
        self.trouble = f"Stripe's {self._objects} cannot be read: {why}"
