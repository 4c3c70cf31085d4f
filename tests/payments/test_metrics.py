import pytest

from db.states import STARS_CURRENCY
from payments.settlement.worker import Worker
from payments.telegram import TelegramPaymentHandler
from sandbox.client import SandboxClient
from tests.support.clock import START
from tests.support.desk import Desk
from tests.support.money import BUYER, STRANGER, charge, plan, query, refund
from tests.support.obstacles import refusing
from tests.support.samples import added

pytestmark = pytest.mark.engines("sqlite", "postgresql")


@pytest.mark.criterion("O7", "L3")
async def test_a_payment_is_counted_once_with_its_time(desk: Desk, handler: TelegramPaymentHandler) -> None:
    desk.clock.advance(seconds=3)
    with added() as grown:
        for _ in range(2):
            await handler.handle_successful_payment(charge(at=START))
    assert grown == {
        "starledger_payments_total{channel=telegram_stars,outcome=granted}": 1,
        "starledger_payment_seconds_count{channel=telegram_stars}": 1,
        "starledger_payment_seconds_sum{channel=telegram_stars}": 3,
    }


@pytest.mark.criterion("O7")
async def test_a_payment_that_is_not_granted_is_counted_by_what_became_of_it(handler: TelegramPaymentHandler) -> None:
    with added() as grown:
        await handler.handle_successful_payment(charge("1", payload="another program's"))
        await handler.handle_successful_payment(charge("2", payload="sl1:month:30:200:XTR:5001:00:00"))
        await handler.handle_successful_payment(charge("3", payer=STRANGER, buyer=BUYER))
    assert grown == {
        f"starledger_payments_total{{channel=telegram_stars,outcome={outcome}}}": 1
        for outcome in ("foreign", "parked", "giving_back")
    }


@pytest.mark.criterion("O7", "L3")
async def test_a_refund_is_counted_with_its_time(desk: Desk, handler: TelegramPaymentHandler) -> None:
    await handler.handle_successful_payment(charge())
    with added() as grown:
        await desk.request_refund("charge-1")
        desk.clock.advance(seconds=2)
        await handler.handle_refund(refund(charge()))
    assert grown == {
        "starledger_refunds_total{channel=telegram_stars,outcome=refunded}": 1,
        "starledger_refund_seconds_count{channel=telegram_stars}": 1,
        "starledger_refund_seconds_sum{channel=telegram_stars}": 2,
    }


@pytest.mark.criterion("O7")
async def test_a_failed_attempt_is_counted(desk: Desk, worker: Worker) -> None:
    await desk.record(charge())
    async with refusing(desk.database, "INSERT", "entitlement_grants"):
        with added() as grown:
            await worker.process("charge-1")
    assert grown == {"starledger_failed_attempts_total{event=charge}": 1}


@pytest.mark.criterion("O7", "L3")
async def test_invoices_and_pre_checkouts_are_counted(handler: TelegramPaymentHandler, telegram: SandboxClient) -> None:
    await telegram.add_person("Ann", id=BUYER.telegram_id, started=True)
    with added() as grown:
        await handler.send_invoice(
            BUYER.telegram_id, BUYER.telegram_id, plan("month"), currency=STARS_CURRENCY, keyboard=None, topic_id=None
        )
        await handler.validate_pre_checkout(query())
        await handler.validate_pre_checkout(query("old"))
    assert grown == {
        "starledger_invoices_sent_total{channel=telegram_stars}": 1,
        "starledger_pre_checkouts_total{verdict=accepted}": 1,
        "starledger_pre_checkouts_total{verdict=not_on_sale}": 1,
    }
