"""Lists a user's subscriptions for subscriber and seller, and records the wish to cancel or resume a renewal."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, exists, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.states import Renewal, SubscriptionState
from db.tables import StripeEvent, Subscription, User
from db.users import find_user, lock_users
from entitlements.service import EntitlementService, Holding
from payments.renewals import RenewalReason, is_over, record_wanted_renewal, where_may_take_more
from payments.subscriptions.precedence import is_left_to_renew
from payments.subscriptions.running import read_rivals


@dataclass(frozen=True, slots=True)
class Account:
    """A user's open access and listed subscriptions, from one transaction."""

    holdings: Sequence[Holding]
    subscriptions: Sequence[Subscription]


async def read_account(session: AsyncSession, telegram_id: int, now: datetime) -> Account | None:
    """Read a user's access at `now` and subscriptions, by Telegram id; None: the user is unknown."""
    user = await find_user(session, telegram_id)
    if user is None:
        return None
    return Account(await EntitlementService(session).holdings(user.id, now), await of_user(session, user.id))


async def of_user(session: AsyncSession, user_id: str) -> Sequence[Subscription]:
    """List a user's present subscriptions, by the end of their period.

    The list leaves out ended subscriptions, and unpaid ones that the desk is ending.
    """
    query = select(Subscription).where(
        Subscription.user_id == user_id,
        Subscription.state != SubscriptionState.ENDED,
        or_(Subscription.paid_until.is_not(None), Subscription.renewal_wanted.is_(None)),
    )
    return (await session.scalars(query.order_by(Subscription.current_period_end, Subscription.first_charge_id))).all()


async def list_renewing(session: AsyncSession, charge_ids: Collection[str]) -> Sequence[Subscription]:
    """List the subscriptions of these charges that Telegram may renew, without those that the desk is cancelling."""
    is_being_ended = and_(Subscription.due_at.is_not(None), Subscription.renewal_wanted == Renewal.CANCELED)
    charged = exists().where(
        StripeEvent.event_id.in_(charge_ids),
        StripeEvent.customer_id == Subscription.user_id,
        StripeEvent.payload == Subscription.payload,
    )
    query = select(Subscription).where(charged, where_may_take_more(), not_(is_being_ended))
    return (await session.scalars(query.order_by(Subscription.first_charge_id))).all()


async def find(session: AsyncSession, subscription_id: str, telegram_id: int) -> Subscription | None:
    """Find a subscription of the user with this Telegram id; None: there is none, or it belongs to another user."""
    query = select(Subscription).join(User, User.id == Subscription.user_id)
    return await session.scalar(query.where(Subscription.id == subscription_id, User.telegram_id == telegram_id))


async def record_wish(
    session: AsyncSession, subscription_id: str, telegram_id: int, renewal: Renewal, now: datetime
) -> Subscription | None:
    """Record a subscriber's wish to cancel or resume a renewal; None: it is too late, or another's subscription."""
    await lock_users(session, User.telegram_id == telegram_id)
    row = await find(session, subscription_id, telegram_id)
    if row is None:
        return None
    if renewal is Renewal.CANCELED:
        may_be = not is_over(row)
    else:
        may_be = row.state == SubscriptionState.CANCELED and not await _has_renewing_rival(session, row, now)
    if not may_be:
        return None
    record_wanted_renewal(row, renewal, RenewalReason.BUYER, now)
    return row


async def _has_renewing_rival(session: AsyncSession, row: Subscription, now: datetime) -> bool:
    """Tell whether Telegram is going to renew another subscription of the user with the same entitlement."""
    rivals = await read_rivals(session, row.user_id)
    own = next((each for each in rivals if row.first_charge_id in each.ids), None)
    return own is not None and any(each.opens_same(own) and is_left_to_renew(each, now) for each in rivals)
