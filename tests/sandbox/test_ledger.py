"""The sandbox's Star ledger, refunds, the balance, and past payments for a rebuild."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import (
    LabeledPrice,
    TransactionPartnerAffiliateProgram,
    TransactionPartnerFragment,
    TransactionPartnerTelegramAds,
    TransactionPartnerTelegramApi,
    TransactionPartnerUser,
)

from sandbox.client import SandboxClient
from sandbox.history import Affiliate, PastPayment
from sandbox.ledger import OtherRow
from sandbox.people import Person
from sandbox.remote.transport import SandboxError
from sandbox.server import running_sandbox
from sandbox.settings import Settings
from sandbox.subscriptions import SubscriptionState

Api = Callable[..., Awaitable[dict[str, Any]]]
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def charge_ids(client: SandboxClient, ann: Person) -> list[str]:
    """Write 250 payments of one Star each, a minute apart."""
    payments = [PastPayment(ann.id, f"order-{n}", 1, LONG_AGO + timedelta(minutes=n)) for n in range(250)]
    return await client.add_past_payments(payments)


async def page(api: Api, **arguments: object) -> list[str]:
    return [row["id"] for row in (await api("getStarTransactions", **arguments))["result"]["transactions"]]


async def test_ledger_is_read_oldest_first_in_pages(api: Api, charge_ids: list[str]) -> None:
    assert await page(api) == charge_ids[:100]
    assert await page(api, offset=100) == charge_ids[100:200]
    assert await page(api, offset=200) == charge_ids[200:]
    assert await page(api, offset=250) == []


@pytest.mark.parametrize(("limit", "count"), [(101, 100), (0, 1), (-5, 1), (7, 7)])
async def test_limits_are_clamped(limit: int, count: int, api: Api, charge_ids: list[str]) -> None:
    assert await page(api, limit=limit, offset=-3) == charge_ids[:count]


async def test_a_payment_row_as_aiogram_reads_it(
    bot: Bot, client: SandboxClient, ann: Person, charge_ids: list[str]
) -> None:
    first = (await bot.get_star_transactions(limit=1)).transactions[0]
    assert (first.id, first.amount, first.date) == (charge_ids[0], 1, LONG_AGO)
    assert isinstance(first.source, TransactionPartnerUser)
    assert (first.source.user.id, first.source.invoice_payload) == (ann.id, "order-0")
    assert (first.source.transaction_type, first.source.subscription_period) == ("invoice_payment", None)
    assert await client.ledger_length() == 250


async def test_the_balance_goes_below_zero_unless_a_switch_refuses(
    bot: Bot, client: SandboxClient, ann: Person, charge_ids: list[str]
) -> None:
    await client.add_other(OtherRow.WITHDRAWAL, 249)
    await client.set_switches(refuse_refund_below_balance=True)
    assert await bot.refund_star_payment(ann.id, charge_ids[0])
    with pytest.raises(TelegramBadRequest, match="Bad Request: BALANCE_TOO_LOW"):
        await bot.refund_star_payment(ann.id, charge_ids[1])
    await client.set_switches(refuse_refund_below_balance=False)
    assert await bot.refund_star_payment(ann.id, charge_ids[1])
    assert (await bot.get_my_star_balance()).amount == -1


@pytest.mark.parametrize(
    ("arguments", "description"),
    [
        ({}, "invalid user_id specified"),
        ({"user_id": 0, "telegram_payment_charge_id": "x"}, "invalid user_id specified"),
        ({"user_id": -5, "telegram_payment_charge_id": "x"}, "invalid user_id specified"),
        ({"user_id": "ann", "telegram_payment_charge_id": "x"}, "invalid user_id specified"),
        ({"user_id": 5}, 'parameter "telegram_payment_charge_id" is required'),
        ({"user_id": 5, "telegram_payment_charge_id": "x"}, "CHARGE_NOT_FOUND"),
    ],
)
async def test_refunds_that_are_refused(arguments: dict[str, Any], description: str, api: Api) -> None:
    assert (await api("refundStarPayment", **arguments))["description"] == f"Bad Request: {description}"


async def test_a_refund_to_another_person_is_refused(bot: Bot, ben: Person, charge_ids: list[str]) -> None:
    with pytest.raises(TelegramBadRequest, match="CHARGE_NOT_FOUND"):
        await bot.refund_star_payment(ben.id, charge_ids[0])


async def test_a_refund_by_support_reaches_the_bot(
    bot: Bot, client: SandboxClient, ann: Person, charge_ids: list[str]
) -> None:
    await client.refund_elsewhere(charge_ids[3])
    [update] = await bot.get_updates()
    assert update.message is not None
    assert update.message.refunded_payment is not None
    assert update.message.refunded_payment.telegram_payment_charge_id == charge_ids[3]
    with pytest.raises(TelegramBadRequest, match="CHARGE_ALREADY_REFUNDED"):
        await bot.refund_star_payment(ann.id, charge_ids[3])
    with pytest.raises(SandboxError):
        await client.refund_elsewhere(charge_ids[3])


async def test_rows_of_every_other_kind(bot: Bot, client: SandboxClient, ann: Person) -> None:
    for kind in OtherRow:
        await client.add_other(kind, 100, user_id=ann.id, payload="theirs", nanostars=5, at=LONG_AGO)
    rows = (await bot.get_star_transactions()).transactions
    partners = [row.source or row.receiver for row in rows]
    assert [row.receiver is not None for row in rows] == [True, False, False, True, False, True, True, False]
    gift, media, foreign, withdrawal, affiliate, ads, broadcast, _ = partners
    assert isinstance(gift, TransactionPartnerUser)
    assert isinstance(media, TransactionPartnerUser)
    assert isinstance(foreign, TransactionPartnerUser)
    assert [gift.transaction_type, media.transaction_type] == ["gift_purchase", "paid_media_payment"]
    assert (foreign.transaction_type, foreign.invoice_payload) == ("invoice_payment", "theirs")
    assert isinstance(withdrawal, TransactionPartnerFragment)
    assert isinstance(affiliate, TransactionPartnerAffiliateProgram)
    assert isinstance(ads, TransactionPartnerTelegramAds)
    assert isinstance(broadcast, TransactionPartnerTelegramApi)
    balance = await bot.get_my_star_balance()
    assert (balance.amount, balance.nanostar_amount) == (0, None)


async def test_nanostars_add_up_in_the_balance(client: SandboxClient) -> None:
    await client.add_other(OtherRow.AFFILIATE_PROGRAM, 1, nanostars=600_000_000)
    await client.add_other(OtherRow.AFFILIATE_PROGRAM, 1, nanostars=600_000_000)
    assert await client.balance() == {"amount": 3, "nanostar_amount": 200_000_000}
    await client.add_other(OtherRow.WITHDRAWAL, 4)
    assert await client.balance() == {"amount": 0, "nanostar_amount": -800_000_000}


async def test_any_row_can_be_written(api: Api, client: SandboxClient) -> None:
    odd: list[dict[str, Any]] = [{"id": "x", "source": {"type": "from_the_future"}}, {"no": "id"}]
    assert await client.add_rows(odd) == 2
    assert (await api("getStarTransactions"))["result"]["transactions"] == odd


async def test_a_row_can_be_written_many_times_each_under_an_id_of_its_own(client: SandboxClient) -> None:
    assert await client.add_copies({"id": "x", "amount": 2, "date": 1, "source": {"type": "other"}}, 3) == 3
    assert [row["id"] for row in await client.ledger()] == ["x-0", "x-1", "x-2"]
    assert await client.balance() == {"amount": 6}


async def test_odd_forms_of_a_past_payment(bot: Bot, client: SandboxClient, ann: Person, ben: Person) -> None:
    await client.add_past_payments(
        [
            PastPayment(ann.id, "media", 5, LONG_AGO, as_paid_media=True),
            PastPayment(ann.id, "affiliated", 90, LONG_AGO, affiliate=Affiliate(ben.id, 100, 10)),
            PastPayment(ann.id, "back", 7, LONG_AGO, refunded_at=LONG_AGO + timedelta(hours=1)),
        ]
    )
    media, affiliated, paid, back = (await bot.get_star_transactions()).transactions
    assert isinstance(media.source, TransactionPartnerUser)
    assert (media.source.transaction_type, media.source.paid_media_payload) == ("paid_media_payment", "media")
    assert isinstance(affiliated.source, TransactionPartnerUser)
    assert affiliated.source.affiliate is not None
    assert affiliated.source.affiliate.amount == 10
    assert paid.id == back.id
    assert back.receiver is not None
    with pytest.raises(TelegramBadRequest, match="CHARGE_ALREADY_REFUNDED"):
        await bot.refund_star_payment(ann.id, back.id)


async def test_a_subscription_of_the_past_runs_on(bot: Bot, client: SandboxClient, ann: Person) -> None:
    now = (await client.clock()).now
    [first] = await client.add_past_payments(
        [PastPayment(ann.id, "auto", 10, now - timedelta(days=40), subscription=True)]
    )
    [over] = await client.subscriptions()
    assert over.state is SubscriptionState.ENDED
    await client.add_past_payments([PastPayment(ann.id, "auto", 10, now - timedelta(days=10), subscription_id=first)])
    [running] = await client.subscriptions()
    assert (running.id, running.state) == (first, SubscriptionState.ACTIVE)
    await client.move_clock(timedelta(days=20, minutes=1).total_seconds())
    assert len(await client.charges(ann.id)) == 3
    assert await bot.edit_user_star_subscription(ann.id, first, is_canceled=True)


async def test_charge_ids_over_128_characters() -> None:
    async with running_sandbox(Settings(charge_id_length=140)) as server:
        ann = await server.client.add_person("Ann")
        ids = await server.client.add_past_payments([PastPayment(ann.id, "p", 1, LONG_AGO)] * 2)
        assert [len(charge_id) for charge_id in ids] == [140, 140]
        assert ids[0] != ids[1]
    with pytest.raises(ValueError, match="at least 24"):
        Settings(charge_id_length=23)


async def test_a_withdrawal_ends_in_place_and_one_that_failed_comes_back(client: SandboxClient) -> None:
    paid, refused = [await client.add_other(OtherRow.WITHDRAWAL, stars) for stars in (1000, 2000)]
    await client.end_withdrawal(paid["id"], succeeded=True)
    await client.end_withdrawal(refused["id"], succeeded=False)
    rows = await client.ledger()
    assert [row["receiver"]["withdrawal_state"]["type"] for row in rows[:2]] == ["succeeded", "failed"]
    assert (rows[2]["id"], rows[2]["source"], len(rows)) == (refused["id"], {"type": "fragment"}, 3)
    assert (await client.balance())["amount"] == -1000
    with pytest.raises(SandboxError, match="no pending withdrawal"):
        await client.end_withdrawal(refused["id"], succeeded=True)


async def test_a_server_before_9_says_less(api: Api, bot: Bot, client: SandboxClient, ann: Person) -> None:
    await client.add_other(OtherRow.FOREIGN_PAYMENT, 5, user_id=ann.id, payload="x")
    await client.set_switches(server_before_9=True)
    (row,) = (await api("getStarTransactions"))["result"]["transactions"]
    assert "transaction_type" not in row["source"]
    assert row["source"]["invoice_payload"] == "x"
    assert (await api("getMyStarBalance"))["description"] == "Not Found: method not found"
    await client.set_switches(server_before_9=False)
    assert (await bot.get_my_star_balance()).amount == 5


@pytest.mark.parametrize("is_net", [True, False])
async def test_a_sale_by_an_affiliate_and_its_refund(
    bot: Bot,
    client: SandboxClient,
    ann: Person,
    is_net: bool,  # noqa: FBT001 - a case
) -> None:
    await client.set_switches(affiliate_per_mille=105, affiliate_amounts_net=is_net)
    await client.set_balance(ann.id, 10)
    link = await bot.create_invoice_link("t", "d", "p", "XTR", [LabeledPrice(label="x", amount=10)])
    paying = asyncio.create_task(client.pay(ann.id, offer=link))
    query = (await bot.get_updates(timeout=5))[-1].pre_checkout_query
    assert query is not None
    await bot.answer_pre_checkout_query(query.id, ok=True)
    await paying
    (charge,) = await client.charges()
    await client.refund_elsewhere(charge.id)
    paid, back = await client.ledger()
    assert (paid["amount"], paid.get("nanostar_amount")) == ((8, 950_000_000) if is_net else (10, None))
    said = [
        (row["affiliate"]["amount"], row["affiliate"]["nanostar_amount"]) for row in (paid["source"], back["receiver"])
    ]
    assert said == [(1, 50_000_000), (-1, -50_000_000)]
    assert (await client.balance())["amount"] == 0
