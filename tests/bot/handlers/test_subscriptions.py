import pytest

from tests.support.chats import Chats
from tests.support.subscribers import Subscriber

STALE = "This button is out of date. Send the command again."


@pytest.fixture
async def ann(chats: Chats) -> Subscriber:
    subscriber = Subscriber(chats, chats.people.buyer)
    await subscriber.subscribe()
    await subscriber.told()
    return subscriber


@pytest.mark.criterion("N3")
async def test_status_shows_price_next_renewal_and_a_button(ann: Subscriber) -> None:
    status = await ann.chats.answer(ann.person, "/status")
    row = await ann.row()
    assert (
        f"🔁 Premium, renewed monthly renews on {row.current_period_end:%-d %B %Y, %H:%M} UTC for 150 ⭐"
        in status.text()
    )
    assert [button["text"] for button in status.buttons()] == ["Cancel Premium, renewed monthly"]


@pytest.mark.criterion("N3")
async def test_declined_question_keeps_the_subscription(ann: Subscriber) -> None:
    await ann.press("Cancel Premium, renewed monthly")
    await ann.press("No, keep it")
    assert (await ann.told())[-1] == "Premium, renewed monthly goes on as before."
    assert (await ann.row()).renewal_wanted is None


@pytest.mark.criterion("N3", "S12")
async def test_anothers_subscription_and_an_old_button_are_refused_by_an_alert(ann: Subscriber, chats: Chats) -> None:
    row = await ann.row()
    message = await chats.answer(chats.people.other, "/help")
    for wish in ("cancel", "cancel_now", "keep", "take_up"):
        press = await chats.press_altered(chats.people.other, message, f"sub:{wish}:{row.id}")
        assert (press.text, press.show_alert) == (STALE, True)
    mine = await chats.answer(ann.person, "/help")
    for data in (
        f"sub:take_up:{row.id}",
        "sub:cancel:unknown",
        f"sub:sell:{row.id}",
        "sub:cancel",
        f"sub:keep:{'x' * 40}",
    ):
        press = await chats.press_altered(ann.person, mine, data)
        assert (press.text, press.show_alert) == (STALE, True)
    assert (await ann.row()).renewal_wanted is None


@pytest.mark.criterion("N3")
async def test_a_failed_one_offers_to_buy_anew_and_none_shows_when_it_has_ended(ann: Subscriber) -> None:
    first = (await ann.row()).first_charge_id
    await ann.client.fail_renewals(first)
    await ann.client.renew(first)
    await ann.chats.settle()
    assert "could not be renewed" in (await ann.told())[-1]
    status = await ann.chats.answer(ann.person, "/status")
    assert "⚠️ Premium, renewed monthly could not be renewed for 150 ⭐; open until" in status.text()
    assert [button["text"] for button in status.buttons()] == ["Buy Premium, renewed monthly again"]
