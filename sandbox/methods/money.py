"""Bot API methods about Stars: pre-checkout answers, refunds, the ledger, subscriptions."""

from collections.abc import Callable
from typing import Any

from sandbox.args import Args
from sandbox.errors import ApiError
from sandbox.shapes import Json
from sandbox.world import World

TRANSACTIONS_MAX = 100


def answer_pre_checkout_query(world: World, args: Args) -> bool:
    """AnswerPreCheckoutQuery: take the bot's answer; a refusal needs words."""
    error_message = None if args.boolean("ok") else args.required("error_message")
    world.checkout.answer(args.text("pre_checkout_query_id"), error_message)
    return True


def refund_star_payment(world: World, args: Args) -> bool:
    """RefundStarPayment: refund a charge in Stars."""
    user_id = args.user_id()
    world.charges.refund(user_id, args.required("telegram_payment_charge_id"))
    return True


def get_star_transactions(world: World, args: Args) -> Json:
    """GetStarTransactions: return ledger rows, oldest first, offset and limit clamped."""
    offset = args.integer("offset", 0, 0)
    limit = args.integer("limit", TRANSACTIONS_MAX, 1, TRANSACTIONS_MAX)
    page = world.ledger.page(offset, limit)
    return {"transactions": [_before_9(row) for row in page] if world.settings.switches.server_before_9 else page}


def get_my_star_balance(world: World, _: Args) -> Json:
    """GetMyStarBalance: return the bot's balance (Bot API 9.1)."""
    if world.settings.switches.server_before_9:
        raise ApiError(404, "Not Found: method not found")
    return world.ledger.balance()


def _before_9(row: Json) -> Json:
    """Return a ledger row in the form of servers before Bot API 9.0."""
    return {
        name: {field: said for field, said in value.items() if field != "transaction_type"}
        if name in ("source", "receiver") and isinstance(value, dict)
        else value
        for name, value in row.items()
    }


def edit_user_star_subscription(world: World, args: Args) -> bool:
    """EditUserStarSubscription: cancel a subscription's renewal, or allow to resume it."""
    user_id = args.user_id()
    charge_id = args.text("telegram_payment_charge_id")
    world.subscriptions.edit_by_bot(user_id, charge_id, canceled=args.boolean("is_canceled"))
    return True


METHODS: dict[str, Callable[[World, Args], Any]] = {
    "answerPreCheckoutQuery": answer_pre_checkout_query,
    "refundStarPayment": refund_star_payment,
    "getStarTransactions": get_star_transactions,
    "getMyStarBalance": get_my_star_balance,
    "editUserStarSubscription": edit_user_star_subscription,
}
