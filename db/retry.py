"""Does again at once what PostgreSQL ended for the sake of somebody else's transaction."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError

TRIES_MAX: Final = 4
PAUSE_SECONDS_MAX: Final = 0.05
# A serialization failure and a deadlock (PostgreSQL's manual, "Serialization Failure Handling"): the whole transaction
# is to be done again, and nothing is wrong with it.
_ENDED_FOR_OTHERS: Final = frozenset({"40001", "40P01"})

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def is_ended_for_others(error: DBAPIError) -> bool:
    """Tell whether the same transaction, done again, may well come through."""
    return getattr(error.orig, "sqlstate", None) in _ENDED_FOR_OTHERS


def tried_again(
    work: Callable[_Parameters, Coroutine[Any, Any, _Result]],
) -> Callable[_Parameters, Coroutine[Any, Any, _Result]]:
    """Have `work` done a few times if need be; it raises then what its last try raises.

    It opens one transaction, reads in it all that it goes by, and changes nothing elsewhere: of a transaction that was
    ended nothing is left, so that to do it again is to do it once.
    """

    @wraps(work)
    async def do(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        for _ in range(TRIES_MAX - 1):
            try:
                return await work(*args, **kwargs)
            except DBAPIError as error:
                if not is_ended_for_others(error):
                    raise
                # Two that ended each other would meet again.
                await asyncio.sleep(random.uniform(0, PAUSE_SECONDS_MAX))  # noqa: S311 - no secret
        return await work(*args, **kwargs)

    return do
