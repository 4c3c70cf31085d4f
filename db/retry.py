"""Retry of a transaction that PostgreSQL aborted in favour of another one."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError

TRIES_MAX: Final = 4
PAUSE_SECONDS_MAX: Final = 0.05
# SQLSTATE of a serialization failure and a deadlock (PostgreSQL's manual, "Serialization Failure Handling"): nothing is
# wrong with the transaction, and it may be run again as a whole.
_ABORTED_FOR_ANOTHER: Final = frozenset({"40001", "40P01"})

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def is_aborted_for_another(error: DBAPIError) -> bool:
    """Tell whether PostgreSQL aborted a transaction for another one, so that a retry may succeed."""
    return getattr(error.orig, "sqlstate", None) in _ABORTED_FOR_ANOTHER


def retry_transaction(
    work: Callable[_Parameters, Coroutine[Any, Any, _Result]],
) -> Callable[_Parameters, Coroutine[Any, Any, _Result]]:
    """Run `work` again, up to TRIES_MAX times, when PostgreSQL aborts its transaction; raise the last error.

    `work` opens one transaction, reads in it all that it decides by, and changes nothing elsewhere. An aborted
    transaction leaves nothing behind, so a second run counts once.
    """

    @wraps(work)
    async def do(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        for _ in range(TRIES_MAX - 1):
            try:
                return await work(*args, **kwargs)
            except DBAPIError as error:
                if not is_aborted_for_another(error):
                    raise
                # Without a random pause two transactions that collided would collide again.
                await asyncio.sleep(random.uniform(0, PAUSE_SECONDS_MAX))  # noqa: S311 - no secret
        return await work(*args, **kwargs)

    return do
