"""Finds users' rows, and locks them: the first lock of every transaction that changes a user's money or access."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import User

NAMESAKES_MAX: Final = 5

_LOCKED: Final = "starledger.locked"
"""The key in a session's `info` of the users that its transaction has locked."""
_USER: Final = select(User).where(User.telegram_id == bindparam("telegram_id"))


async def find_user(session: AsyncSession, telegram_id: int) -> User | None:
    """Find the user with this Telegram id; None: the user is unknown."""
    return await session.scalar(_USER, {"telegram_id": telegram_id})


async def find_namesakes(session: AsyncSession, username: str) -> Sequence[User]:
    """Find the users last seen under a @username (without the @, in any case), at most 5.

    Several users have it after the name has passed from one account to another, because our name of a user is the one
    that came with a payment.
    """
    query = select(User).where(func.lower(User.username) == username.lower(), User.telegram_id.is_not(None))
    return (await session.scalars(query.order_by(User.telegram_id).limit(NAMESAKES_MAX))).all()


async def lock_users(session: AsyncSession, which: ColumnElement[bool], *, skip_locked: bool = False) -> Sequence[User]:
    """Lock users' rows until the transaction ends, before events, grants or refunds change; return them by id.

    FOR NO KEY UPDATE, so that inserts of rows that refer to a user go on. SQLite has one writer and needs no lock.
    With `skip_locked` it waits for nobody, and leaves out the users that another transaction has locked.
    """
    return await lock_selected_users(session, select_users_to_lock(which, skip_locked=skip_locked), {})


def select_users_to_lock(which: ColumnElement[bool], *, skip_locked: bool = False) -> Select[User]:
    """Return the SELECT that locks users, as a constant for `lock_selected_users`."""
    locking = select(User).where(which).order_by(User.id).with_for_update(key_share=True, skip_locked=skip_locked)
    return locking.execution_options(populate_existing=True)


async def lock_selected_users(
    session: AsyncSession, selected: Select[User], values: Mapping[str, Any]
) -> Sequence[User]:
    """Lock users' rows by a constant SELECT with the `values` of its parameters, as `lock_users` does.

    The session keeps the users in its `info`, because its own references are weak: `session.get` then returns a locked
    user without another statement.
    """
    users = (await session.scalars(selected, values)).all()
    session.info.setdefault(_LOCKED, []).extend(users)
    return users
