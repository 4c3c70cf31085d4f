"""A typed async client of the control API: for tests, for a page, for any program that drives a sandbox.

    async with running_sandbox(Settings(seed=1)) as server:     # sandbox.server, sandbox.settings
        server.url, server.token, server.client, server.world   # the base address for both APIs
        ann = await server.client.add_person("Ann", balance_stars=1000)
        await server.client.start(ann.id)
        offer = await server.client.wait_for(ann.id, lambda one: "invoice" in one.message)
        payment = await server.client.pay(ann.id, message_id=offer.message_id)

A private chat's id is its person's id. Calls return the world's own dataclasses (Person, ChatMessage,
Payment, Charge, Subscription, ...). Refusals raise SandboxError, waiting in vain SandboxTimeoutError.

People and chats (sandbox.remote.people)
    add_person(first_name, *, balance_stars=0, id, last_name, username, language_code="en", started=False) -> Person
    person(user_id), persons(), set_balance(user_id, balance_stars), rename(user_id, first_name, **more)
    set_reach(user_id, Reach.BLOCKED | OPEN | DEACTIVATED | NOT_STARTED) -> Person
    add_group(title, *, member_ids, admin_ids, kind="supergroup") -> Group; groups(), remove_bot(chat_id)
    send_text(user_id, text, *, chat_id, anonymous=False, reply_to_message_id, topic_id, via_bot) -> ChatMessage
    start(user_id, parameter="") -> ChatMessage
    press(user_id, message_id, *, data, text, chat_id) -> Press; press_stale(user_id, message_id, data) -> Press
    press_answer(query_id, *, timeout_seconds=10) -> Press
    chat(chat_id) -> list[ChatMessage]; commands(user_id, chat_id=None) -> list[dict]
    wait_for(chat_id, matches, *, after_message_id=0, timeout_seconds=10) -> ChatMessage
    wait_for_text(chat_id, part, **options) -> ChatMessage

Stars (sandbox.remote.money)
    start_payment(user_id, *, message_id, chat_id, offer) -> Payment; payment(payment_id), payments()
    payment_end(payment_id, *, timeout_seconds=15) -> Payment
    pay(user_id, *, message_id, chat_id, offer, timeout_seconds=15) -> Payment      # offer: a link or an id
    forward_invoice(chat_id, message_id) -> ForwardedInvoice(offer_id | None, url | None)
    charges(user_id=None), card_charges(user_id=None), refund_elsewhere(charge_id)
    balance(), ledger(offset=0, limit=1000), ledger_length()
    add_past_payments(list[PastPayment]) -> charge ids; add_other(OtherRow, stars, ...) -> row; add_rows(rows)
    add_copies(row, count) -> number of rows; end_withdrawal(row_id, *, succeeded) -> row
    subscriptions(user_id=None), cancel_subscription(id), take_up_again(id), renew(id), fail_renewals(id, count=1)

The account at Stripe (sandbox.remote.stripe)
    stripe_charges(limit=100) -> list[StripeCharge(charge, refunds, disputes, user_id)]
    stripe_give_back(charge_id, amount=None) -> refund; stripe_fail_refund(refund_id) -> refund
    stripe_open_dispute(charge_id) -> dispute; stripe_close_dispute(dispute_id, "won" | "lost") -> dispute

Telegram (sandbox.remote.telegram)
    about(), replace_token(token), clock(), move_clock(seconds) -> ClockReading(now, offset_seconds)
    updates_waiting(), updates_past() -> list[UpdateRecord]; push_raw(update) -> UpdateRecord
    calls(method=None, *, after=0) -> list[Call]; wait_for_call(method, *, after=0, timeout_seconds=10) -> Call
    wait_until_confirmed(*, timeout_seconds=10), polling(), wait_until_polling(*, timeout_seconds=10)
    add_fault(FaultKind, method="*", *, count=1, retry_after_seconds, status, delay_seconds, migrate_to_chat_id)
    remove_fault(kind, method="*"), spare_updates(dropped=..., kind="*")
    lose_updates(count=1, *, kind="*"), double_updates(count=1, *, kind="*"), set_away(away=...)
    release_holds(), wait_until_held(), clear_faults(), faults(), switches(), set_switches(**switches)

Anything (sandbox.remote.transport)
    events(*, after=None, timeout_seconds=0) -> (last number, events); file(file_id) -> bytes
    wait_until(look, *, timeout_seconds=10, what="...") -> what look gives     # looks again after each change
"""

from sandbox.remote.money import MoneyCalls
from sandbox.remote.people import PeopleCalls
from sandbox.remote.stripe import StripeCalls
from sandbox.remote.telegram import TelegramCalls


class SandboxClient(PeopleCalls, MoneyCalls, StripeCalls, TelegramCalls):
    """All operations of a sandbox at `url`; an async context manager, or `close` it."""
