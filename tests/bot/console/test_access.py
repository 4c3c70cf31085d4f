import getpass
import re

import pytest
from sqlalchemy import select

from db.tables import EntitlementGrant
from tests.support.commands import Commands
from tests.support.desk import Desk
from tests.support.money import BUYER, charge
from tests.support.subscription_facts import paid, tell
from tests.support.subscription_facts import said as told

ID = str(BUYER.telegram_id)


async def grants(desk: Desk) -> list[EntitlementGrant]:
    async with desk.database.reading() as session:
        return list(await session.scalars(select(EntitlementGrant).order_by(EntitlementGrant.granted_at)))


@pytest.mark.criterion("N6")
async def test_access_is_granted_and_revoked_by_hand_with_who_and_why_on_record(
    commands: Commands, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    said = await commands.prints("grant", ID, "premium", "--days", "7", "--reason", "won the raffle")
    found = re.fullmatch(rf"{ID} has premium until .+ UTC\. To take this back: revoke --source (manual:\S+)\n", said)
    assert found is not None, said
    [grant] = await grants(desk)
    assert (grant.source, grant.duration_days) == (found[1], 7)
    assert (grant.granted_by, grant.grant_reason) == ("cli:alice", "won the raffle")
    said = await commands.prints("revoke", ID, "premium", "--reason", "was a mistake", "--source", grant.source)
    assert said == f"{ID}: premium is revoked. Its sources:\n    {grant.source}\n"
    [grant] = await grants(desk)
    assert grant.revoked_at is not None
    assert (grant.revoked_by, grant.revoke_reason) == ("cli:alice", "was a mistake")
    assert "nothing" in await commands.prints("history", ID)


@pytest.mark.criterion("N6")
async def test_revoking_takes_all_that_opens_a_type_and_leaves_the_others(commands: Commands, desk: Desk) -> None:
    await desk.take(charge("c1", "bundle", at=desk.clock()))
    await commands.prints("grant", ID, "premium", "--for-life", "--reason", "a friend")
    said = await commands.prints("revoke", ID, "premium", "--reason", "no friend")
    assert "telegram_stars:c1" in said
    assert "manual:" in said
    standing = {(each.entitlement_type, each.revoked_at is None) for each in await grants(desk)}
    assert standing == {("premium", False), ("archive", True)}
    assert await commands.prints("revoke", ID, "premium", "--reason", "again", status=1) == (
        f"Nothing is revoked: {ID} has no premium.\n"
    )


@pytest.mark.criterion("N6")
async def test_revoking_what_a_subscription_opens_says_that_it_renews_and_how_to_end_it(
    commands: Commands, desk: Desk
) -> None:
    await desk.take(paid(1))
    said = await commands.prints("revoke", ID, "premium", "--reason", "spam")
    assert "It is opened again by the next renewal: Telegram takes 150 Stars at 2026-03-31 12:00 UTC." in said
    assert said.endswith("refund sub-1\n")
    await desk.take(paid(2))
    await tell(desk, told("canceled", 25))
    assert "renewal" not in await commands.prints("revoke", ID, "premium", "--reason", "spam")


@pytest.mark.criterion("N6")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("grant", ID, "premum", "--days", "7", "--reason", "x"), "no plan of the catalog opens premum; there are "),
        (("grant", ID, "premium", "--days", "7", "--reason", " "), "a reason has 1 to 200 characters"),
        (("grant", ID, "premium", "--days", "7", "--reason", "x" * 201), "a reason has 1 to 200 characters"),
        (("revoke", ID, "premium", "--reason", ""), "a reason has 1 to 200 characters"),
        (("revoke", "999", "premium", "--reason", "x"), "Nothing is revoked: 999 has no premium."),
    ],
)
async def test_refused_grant_or_revocation_says_why(commands: Commands, arguments: tuple[str, ...], words: str) -> None:
    assert words in await commands.prints(*arguments, status=1)


@pytest.mark.parametrize("lengths", [(), ("--days", "7", "--for-life"), ("--days", "0"), ("--days", "40000")])
async def test_a_length_is_said_and_only_one(commands: Commands, lengths: tuple[str, ...]) -> None:
    assert (await commands.run("grant", ID, "premium", "--reason", "x", *lengths)).exit_code == 2


async def test_without_sudo_the_actor_is_the_account(
    commands: Commands, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    await commands.prints("grant", ID, "premium", "--days", "7", "--reason", "x")
    assert [each.granted_by for each in await grants(desk)] == [f"cli:{getpass.getuser()}"]
