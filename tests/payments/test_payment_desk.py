from payments.payment_desk import PaymentDesk, RetryResult
from payments.telegram import TelegramPaymentHandler
from tests.support.desk import Desk
from tests.support.money import BUYER, charge


async def test_a_refund_is_asked_for_and_nothing_starts_before_the_caller_has_answered(
    desk: Desk, handler: TelegramPaymentHandler
) -> None:
    await desk.take(charge())
    asked = await handler.request_refund("charge-1", reason="wrong plan", requested_by="telegram:42")
    assert (asked.refund.refund_of, asked.refund.requested_by) == ("charge-1", "telegram:42")
    assert asked.buyer.telegram_id == BUYER.telegram_id
    assert asked.charge is not None
    assert asked.charge.event_id == "charge-1"
    assert not handler._worker.loop._wakened.is_set()
    handler.wake()
    assert handler._worker.loop._wakened.is_set()


async def test_a_retry_wakes_the_worker_and_the_loop_over_subscriptions(handler: TelegramPaymentHandler) -> None:
    assert await handler.retry("nothing") is RetryResult.UNKNOWN
    assert handler._worker.loop._wakened.is_set()
    assert handler._keeper.loop._wakened.is_set()


async def test_without_a_running_desk_a_command_asks_in_the_same_words(desk: Desk) -> None:
    await desk.take(charge())
    payments = PaymentDesk(desk.database, desk.clock)
    assert not (await payments.list_pending()).count
    asked = await payments.request_refund("charge-1", reason=None, requested_by="cli:root")
    [(waiting, user)] = (await payments.list_pending()).events
    assert (waiting.event_id, user.telegram_id) == (asked.refund.event_id, BUYER.telegram_id)
    assert (await payments.read_backlog()).events["pending"].count == 1
    assert not await payments.was_fully_refunded("charge-1")
