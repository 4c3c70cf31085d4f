import pytest

from tests.support.commands import Commands
from tests.support.desk import Desk
from tests.support.money import BUYER, charge, refund

ID = str(BUYER.telegram_id)


@pytest.mark.criterion("O8")
async def test_a_history_tells_of_money_and_of_access(commands: Commands, desk: Desk) -> None:
    for number in range(7):
        await desk.take(charge(f"c{number}", at=desk.clock.advance(hours=1)))
    await desk.request_refund("c6")
    await desk.take(refund(charge("c6"), at=desk.clock.advance(hours=1)))
    await commands.prints("grant", ID, "premium", "--for-life", "--reason", "a friend")
    for who in (ID, "@BUYER"):
        lines = (await commands.prints("history", who)).splitlines()
        assert lines[0].startswith(f"@buyer  {ID}  since 2026-03-01 13:00 UTC")
        assert lines[1] == "2026-03-01 20:00 UTC  refund  200 XTR  done  refund:c6"
        assert lines[2] == "    asked by telegram:42: wrong plan"
        assert [line.split("  ")[-1] for line in lines[3:10]] == [f"c{number}" for number in range(6, -1, -1)]
        assert any("grant  premium  for ever  manual:" in line for line in lines)
        assert any(line.endswith(": a friend") for line in lines)
        assert "    revoked 2026-03-01 20:00 UTC: wrong plan" in lines
        assert lines[-2] == "has now: premium for ever"


async def test_history_of_an_unknown_id_or_name_says_so(commands: Commands) -> None:
    assert "Nobody is known here as 99" in await commands.prints("history", "9" * 30, status=1)
    said = await commands.prints("history", "@nobody", status=1)
    assert said.startswith("Nobody is known here as @nobody: it takes a Telegram id")


async def test_a_name_is_shown_with_a_warning_that_it_may_be_anothers_now(commands: Commands, desk: Desk) -> None:
    await desk.take(charge("c1"))
    for who, is_warned in ((ID, False), ("@BUYER", True), ("buyer", True)):
        said = await commands.run("history", who)
        assert ("may have changed hands" in said.stderr) is is_warned
        assert "changed hands" not in said.stdout
