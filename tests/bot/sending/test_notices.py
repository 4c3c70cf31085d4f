"""The text of every notice, sent through the sandbox's parser of HTML."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

import pytest
import pytest_asyncio
from aiogram import Bot
from aiogram.types import Message

from bot.sending.notices import NoticeRenderer
from db.limits import ERROR_LENGTH_MAX
from db.states import Renewal
from payments.ledger.findings import Finding, Unexplained
from payments.notices import Notice
from payments.renewals import RenewalReason
from payments.sale.eligibility import PurchaseObstacle
from payments.settlement.judgement import GIVEN_BACK_FOR, ChargeProblem
from payments.stripe.trouble import StripeTrouble
from sandbox.server import running_sandbox
from tests.support.bots import talking_bot
from tests.support.clock import START, FakeClock

READER: Final = 7001
RENDERER: Final = NoticeRenderer(FakeClock())
SOON: Final = (START + timedelta(days=30)).isoformat()


ABOUT_A_BUYER: Final = (
    Notice.REFUND_DONE,
    Notice.NOTHING_LEFT,
    Notice.PART_DONE,
    Notice.NOTHING_OPENED,
    Notice.FOREIGN,
    Notice.REFUNDED_OUTSIDE,
    Notice.PARTLY_REFUNDED_OUTSIDE,
    Notice.DISPUTED,
    Notice.DISPUTE_CLOSED,
    Notice.UNRECORDED,
)
ABOUT_ONES_OWN: Final = (Notice.WAITING, Notice.PARTLY_REFUNDED, Notice.CHARGED_BACK)


def _facts(notice: Notice, value: str) -> dict[str, Any]:
    """Return the facts of a notice (payments/notices.py), each text among them this value."""
    facts: dict[str, Any] = {"charge_id": value, "amount": 1500, "currency": "XTR"}
    match notice:
        case Notice.GRANTED:
            return facts | {"title": value, "access": [(value, SOON), (value, None)], "is_renewal": False}
        case Notice.GIVING_BACK:
            return facts | {"reason": PurchaseObstacle.NOT_THE_BUYER.value}
        case Notice.REFUNDED:
            return facts | {"reason": value, "was_granted": True}
        case Notice.PARKED:
            return facts | {"buyer": READER, "reason": value, "retry_id": value}
        case Notice.REFUND_FAILED:
            return facts | {"buyer": READER, "reason": value, "stays": "closed"}
        case kind if kind in ABOUT_A_BUYER:
            return facts | {"buyer": READER, "reason": value}
        case Notice.QUARANTINED:
            return {"reason": value, "retry_id": value}
    return facts if notice in ABOUT_ONES_OWN else _other_facts(notice, value)


def _other_facts(notice: Notice, value: str) -> dict[str, Any]:
    """Return the facts of a notice about a subscription, the end of some days, the ledger, or the desk itself."""
    if notice is Notice.LEDGER:
        return asdict(Unexplained(Finding.UNREADABLE, value, detail=value, here=value, there=value))
    if notice is Notice.LOST_PAYMENT:
        return _lost_payment(value)
    of_its_own: dict[Notice, dict[str, Any]] = {
        Notice.ACCESS_ENDS_SOON: {"title": value, "plan": "month", "until": SOON},
        Notice.UNDELIVERED: {"reader": READER, "about": value, "why": value},
        Notice.CONFLICT: {"why": value},
        Notice.CLOCK: {"why": value},
        Notice.WEBHOOK: {"why": value},
        Notice.ADMIN_CHAT_MOVED: {"old_chat_id": value, "new_chat_id": value},
        Notice.INVOICE_REFUSED: {"title": value, "plan": "month", "amount": 1500, "currency": "XTR", "why": value},
        Notice.STRIPE_TROUBLE: {"trouble": StripeTrouble.REFUSED.value, "why": value, "read_at": SOON},
    }
    if notice in of_its_own:
        return of_its_own[notice]
    wanted = {"renewal": "canceled", "because": "buyer"}
    if notice is Notice.RENEWAL_STUCK:
        wanted |= {"reason": value, "retry_id": value}
    is_for_admins = notice in {Notice.RENEWAL_STUCK, Notice.RENEWED_UNWANTED}
    return _subscription(value) | wanted | ({"buyer": READER} if is_for_admins else {})


def _lost_payment(value: str) -> dict[str, Any]:
    fit = {"buyer": 8001, "title": value[:32], "entitlements": 10 * ["x" * 20], "days": 30}
    # Stripe's ids have at most 255 characters (Stripe documentation, versioning).
    stripe_id = value[:255]
    money = {"amount": 1500, "currency": "XTR", "paid_at": SOON}
    return money | {"stripe_id": stripe_id, "fits": 3 * [fit], "others": 3 * [stripe_id]}


def _subscription(title: str) -> dict[str, Any]:
    until = {"renews_at": SOON, "access_until": SOON}
    return {"charge_id": "charge-1", "title": title, "plan": "auto", "price_stars": 150} | until


@pytest_asyncio.fixture
async def bot() -> AsyncIterator[Bot]:
    async with running_sandbox() as server:
        await server.client.add_person("Ann", id=READER, started=True)
        async with talking_bot(server.url, server.token) as bot:
            yield bot


async def _read(bot: Bot, html: str) -> Message:
    return await bot.send_message(READER, html, parse_mode="HTML")


def _markup(message: Message) -> list[str]:
    return [entity.type for entity in message.entities or []]


HOSTILE: Final = [
    "<b>",
    "</code>",
    '<a href="tg://user?id=1">Ann</a>',
    "&amp;&lt;",
    "\"'`",
    "{charge_id}",
    "%(amount)s",
    "👩‍👩‍👧‍👦",
    "\u202eabc",
]


@pytest.mark.criterion("S5")
@pytest.mark.parametrize("notice", Notice)
async def test_a_value_is_read_as_it_is_and_makes_no_markup(bot: Bot, notice: Notice) -> None:
    plain = await _read(bot, RENDERER.render(notice, _facts(notice, "plain"), None))
    for value in HOSTILE:
        hostile = await _read(bot, RENDERER.render(notice, _facts(notice, value), None))
        assert plain.text is not None
        assert hostile.text == plain.text.replace("plain", value)
        assert _markup(hostile) == _markup(plain)


@pytest.mark.parametrize("notice", Notice)
async def test_the_longest_values_fit_into_a_message(bot: Bot, notice: Notice) -> None:
    facts = _facts(notice, "&" * ERROR_LENGTH_MAX)
    longest = {"charge_id": "&" * 1024, "title": "&" * 32, "access": 10 * [("x" * 20, SOON)]}
    message = await _read(bot, RENDERER.render(notice, facts | {k: v for k, v in longest.items() if k in facts}, None))
    assert message.text is not None


@pytest.mark.criterion("C9", "R6", "I3")
@pytest.mark.parametrize("notice", Notice)
async def test_a_notice_says_what_it_is_about(bot: Bot, notice: Notice) -> None:
    facts = _facts(notice, "known by this")
    text = (await _read(bot, RENDERER.render(notice, facts, None))).text
    assert text is not None
    assert "notice." not in text
    assert "known by this" in text
    assert ("1,500 ⭐" in text) is ("amount" in facts)
    assert (str(READER) in text) is (not facts.keys().isdisjoint({"buyer", "reader"}))


@pytest.mark.parametrize("finding", Finding)
async def test_every_ledger_finding_has_words(bot: Bot, finding: Finding) -> None:
    facts = _facts(Notice.LEDGER, "known by this") | {"finding": finding.value}
    text = (await _read(bot, RENDERER.render(Notice.LEDGER, facts, None))).text
    assert text is not None
    assert "known by this" in text
    assert "notice." not in text


@pytest.mark.parametrize("trouble", StripeTrouble)
def test_trouble_at_stripe_is_told_with_what_fails_meanwhile_and_what_to_do(trouble: StripeTrouble) -> None:
    facts = _facts(Notice.STRIPE_TROUBLE, "x") | {"trouble": trouble.value}
    text = RENDERER.render(Notice.STRIPE_TROUBLE, facts, None)
    assert "notice." not in text
    assert "efunds and disputes" in text
    assert "Stripe's dashboard" in text or "status.stripe.com" in text


def test_a_lost_payment_is_told_with_the_commands_that_give_what_it_was_for() -> None:
    fits = [
        {"buyer": 1, "title": "A month", "entitlements": ["premium"], "days": 30},
        {"buyer": 2, "title": "All", "entitlements": ["premium", "extra", "more"], "days": None},
        {"buyer": 3, "title": "gone", "entitlements": [], "days": 1},
    ]
    facts = _lost_payment("ch_1") | {"fits": fits, "others": []}
    text = RENDERER.render(Notice.LOST_PAYMENT, facts, None)
    assert '<code>starledger grant 1 premium --days 30 --reason "paid by card, ch_1"</code>' in text
    assert '<code>starledger grant 2 premium --for-life --reason "paid by card, ch_1"</code>' in text
    assert "and the same for: extra, more" in text
    assert "<b>gone</b>, by <code>3</code>\n\n" in text
    assert "Other charges" not in text
    assert "Other charges that may be it (each purchase was paid once at most): ch_2, ch_3" in RENDERER.render(
        Notice.LOST_PAYMENT, facts | {"others": ["ch_2", "ch_3"]}, None
    )


@pytest.mark.parametrize("reason", sorted(GIVEN_BACK_FOR))
def test_why_a_payment_goes_back_is_told_in_words(reason: PurchaseObstacle) -> None:
    text = RENDERER.render(Notice.GIVING_BACK, _facts(Notice.GIVING_BACK, "x") | {"reason": reason.value}, None)
    assert "you get it back" in text
    assert reason.value not in text


@pytest.mark.parametrize("reason", [*ChargeProblem, *sorted(GIVEN_BACK_FOR)])
def test_why_something_waits_is_told_in_words(reason: ChargeProblem | PurchaseObstacle) -> None:
    text = RENDERER.render(Notice.PARKED, _facts(Notice.PARKED, "x") | {"reason": reason.value}, None)
    assert reason.value not in text
    assert "why." not in text


def test_a_refund_without_a_reason_says_nothing_of_one() -> None:
    with_reason = RENDERER.render(Notice.REFUNDED, _facts(Notice.REFUNDED, "x"), None)
    without = RENDERER.render(Notice.REFUNDED, _facts(Notice.REFUNDED, "x") | {"reason": None}, None)
    assert with_reason == without + "\nReason: x"


@pytest.mark.criterion("R6")
def test_the_refund_of_what_never_opened_anything_does_not_say_that_something_is_closed() -> None:
    facts = _facts(Notice.REFUNDED, "x")
    assert "what it opened is closed" in RENDERER.render(Notice.REFUNDED, facts, None)
    never = RENDERER.render(Notice.REFUNDED, facts | {"was_granted": False}, None)
    assert "was given back." in never
    assert "closed" not in never
    assert never.endswith("Reason: x")


def test_a_payment_that_came_to_be_known_when_its_time_was_over_says_so() -> None:
    over = (START - timedelta(days=3)).isoformat()
    text = RENDERER.render(Notice.GRANTED, _facts(Notice.GRANTED, "x") | {"access": [("premium", over)]}, None)
    assert "<b>premium</b> was open until 26 February 2026, 12:00 UTC" in text
    assert "left" not in text


@pytest.mark.criterion("N3")
def test_a_renewal_is_told_as_one() -> None:
    text = RENDERER.render(Notice.GRANTED, _facts(Notice.GRANTED, "x") | {"is_renewal": True}, None)
    assert "<b>x</b> is renewed" in text


@pytest.mark.criterion("N3")
@pytest.mark.parametrize("notice", [Notice.SUBSCRIPTION_CANCELED, Notice.SUBSCRIPTION_FAILED, Notice.RENEWAL_DONE])
@pytest.mark.parametrize("until", [None, START.isoformat()])
def test_a_subscription_that_opens_nothing_is_not_said_to_be_open(notice: Notice, until: str | None) -> None:
    assert "access until 31 March 2026, 12:00 UTC" in RENDERER.render(notice, _facts(notice, "x"), None)
    assert "access until" not in RENDERER.render(notice, _facts(notice, "x") | {"access_until": until}, None)


@pytest.mark.criterion("N3")
@pytest.mark.parametrize(
    "because", sorted(set(RenewalReason) - {RenewalReason.GIVEN_BACK})
)  # of that the payer is told otherwise
def test_why_a_renewal_ends_is_told_in_words(because: RenewalReason) -> None:
    text = RENDERER.render(Notice.RENEWAL_DONE, _facts(Notice.RENEWAL_DONE, "x") | {"because": because.value}, None)
    assert "no more Stars are taken" in text


@pytest.mark.criterion("N3")
def test_taking_up_again_is_told_to_be_the_subscribers_last_step() -> None:
    wanted = {"renewal": Renewal.ALLOWED.value}
    told = RENDERER.render(Notice.RENEWAL_DONE, _facts(Notice.RENEWAL_DONE, "x") | wanted, None)
    assert "That last step is yours" in told
    refused = RENDERER.render(Notice.RENEWAL_REFUSED, _facts(Notice.RENEWAL_REFUSED, "x") | wanted, None)
    assert "does not let <b>x</b> be taken up again" in refused
    stuck = RENDERER.render(Notice.RENEWAL_STUCK, _facts(Notice.RENEWAL_STUCK, "x") | wanted, None)
    assert "be able to take it up again" in stuck


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("won", "is closed in your favour</b> (won)"),
        ("warning_closed", "inquiry about a payment is closed</b> (warning_closed)"),
        ("prevented", "is closed</b> (prevented)"),
    ],
)
def test_closed_dispute_is_told_with_its_meaning(reason: str, said: str) -> None:
    text = RENDERER.render(Notice.DISPUTE_CLOSED, _facts(Notice.DISPUTE_CLOSED, "x") | {"reason": reason}, None)
    assert said in text
    assert ("Look at it in Stripe's dashboard" in text) is (reason == "prevented")


@pytest.mark.parametrize(
    ("reason", "why"), [("lost_or_stolen_card", "Why: lost_or_stolen_card"), (None, "Why is not known.")]
)
def test_why_a_refund_came_back_is_told_if_it_is_known(reason: str | None, why: str) -> None:
    text = RENDERER.render(Notice.REFUND_FAILED, _facts(Notice.REFUND_FAILED, "x") | {"reason": reason}, None)
    assert text.splitlines()[1] == why


@pytest.mark.criterion("R6")
def test_a_refund_that_came_back_is_told_with_what_giving_it_back_again_does() -> None:
    facts = _facts(Notice.REFUND_FAILED, "x")
    closed = RENDERER.render(Notice.REFUND_FAILED, facts, None)
    assert "what it opened stays closed" in closed
    assert "To give back what is left of it: <code>/refund x</code>" in closed
    part = RENDERER.render(Notice.REFUND_FAILED, facts | {"stays": "open"}, None)
    assert "what it opened stays open" in part
    assert "use Stripe's dashboard" in part
    assert "/refund x</code> gives back all that is left of the payment, and closes what it opened" in part


@pytest.mark.criterion("R6")
def test_the_rest_of_a_payment_is_not_said_to_be_all_of_it() -> None:
    facts = _facts(Notice.REFUNDED, "x") | {"amount": 399, "currency": "USD", "is_rest": True}
    text = RENDERER.render(Notice.REFUNDED, facts, None)
    assert "The rest of your payment, 3.99 USD, was given back" in text


def test_parked_notice_of_a_settled_refund_names_no_retry() -> None:
    text = RENDERER.render(Notice.PARKED, _facts(Notice.PARKED, "x") | {"is_over": True}, None)
    assert "contradicts its payment" in str(text)
    assert "/retry" not in str(text)
