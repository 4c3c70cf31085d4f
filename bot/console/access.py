"""The commands `grant` and `revoke`: access by hand, with the reason and the actor on record."""

from rich.console import Console

from bot.console.actor import actor
from bot.console.database import open_database
from bot.console.printing import minute
from bot.settings import Settings
from db.clock import utc_now
from db.retry import retry_transaction
from db.tables import Subscription, User
from db.users import lock_users
from entitlements import EntitlementService
from entitlements.by_hand import grant_by_hand, revoke_by_hand
from payments.audit.fact_rows import lock_people
from payments.audit.facts import Person
from payments.methods import charge_of
from payments.payment_desk import REASON_LENGTH_MAX
from payments.sale.catalog_file import load_catalog
from payments.subscriptions.listing import list_renewing


@retry_transaction
async def grant_access(
    settings: Settings, telegram_id: int, entitlement: str, days: int | None, reason: str, console: Console
) -> bool:
    """Grant an entitlement for `days`, or (None) for life, and print its end; False: it refuses the grant, in print."""
    opened = {each for plan in load_catalog(settings.catalog_file).plans.values() for each in plan.entitlements}
    if entitlement not in opened:
        console.print(f"Nothing is granted: no plan of the catalog opens {entitlement}; there are {_listed(opened)}.")
        return False
    if not _is_reason(reason, console):
        return False
    now = utc_now()
    async with open_database(settings) as database, database.transaction() as session:
        users = await lock_people(session, [Person(telegram_id)], now)
        user_id = users[telegram_id].id
        source = await grant_by_hand(session, user_id, entitlement, days=days, actor=actor(), reason=reason, now=now)
        holdings = await EntitlementService(session).holdings(user_id, now)
    [ends_at] = [each.expires_at for each in holdings if each.entitlement_type == entitlement]
    until = f"until {minute(ends_at)}" if ends_at else "for ever"
    console.print(f"{telegram_id} has {entitlement} {until}. To take this back: revoke --source {source}")
    return True


@retry_transaction
async def revoke_access(
    settings: Settings, telegram_id: int, entitlement: str, source: str | None, reason: str, console: Console
) -> bool:
    """Revoke the grants of an entitlement, all or those of one source, and print them; False: there are none.

    It also prints the renewals that will open the access again, because it ends no subscription.
    """
    if not _is_reason(reason, console):
        return False
    now = utc_now()
    async with open_database(settings) as database, database.transaction() as session:
        users = await lock_users(session, User.telegram_id == telegram_id)
        sources: tuple[str, ...] = ()
        renewing: tuple[Subscription, ...] = ()
        if users:
            sources = await revoke_by_hand(
                session, users[0].id, entitlement, source=source, actor=actor(), reason=reason, now=now
            )
            charge_ids = {charge_id for each in sources if (charge_id := charge_of(each))}
            renewing = tuple(await list_renewing(session, charge_ids))
    if not sources:
        console.print(f"Nothing is revoked: {telegram_id} has no {entitlement}{f' of {source}' if source else ''}.")
        return False
    console.print(f"{telegram_id}: {entitlement} is revoked. Its sources:", *sources, sep="\n    ")
    for each in renewing:
        console.print(
            f"It is opened again by the next renewal: Telegram takes {each.price_stars} Stars at"
            f" {minute(each.current_period_end)}. To end that, let the buyer cancel in /status, or give the last"
            f" payment back: refund {each.last_charge_id}"
        )
    return True


def _is_reason(reason: str, console: Console) -> bool:
    if 0 < len(reason.strip()) <= REASON_LENGTH_MAX:
        return True
    console.print(f"Nothing is done: a reason has 1 to {REASON_LENGTH_MAX} characters.")
    return False


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
