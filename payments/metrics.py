"""Prometheus counters and histograms of invoices, pre-checkouts, charges and refunds; bot/monitoring serves them.

No label holds a user or a charge. The labels are channels, verdicts and outcomes, a handful each.
"""

from typing import Final

from prometheus_client import Counter, Histogram

from db.states import EventOutcome
from db.tables import StripeEvent

GIVING_BACK: Final = "giving_back"
"""The outcome of a charge that the desk gives back, until its refund is through."""

INVOICES_SENT: Final = Counter(
    "starledger_invoices_sent", "Invoices that Telegram took, and links to them.", ["channel"]
)
PRE_CHECKOUTS: Final = Counter("starledger_pre_checkouts", "Pre-checkout queries, by what was decided.", ["verdict"])
PRE_CHECKOUT_SECONDS: Final = Histogram(
    "starledger_pre_checkout_seconds",
    "Time from a pre-checkout query in hand to its answer taken by Telegram, which gives ten seconds.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10),
)
PAYMENTS: Final = Counter("starledger_payments", "Charges, by what became of them.", ["channel", "outcome"])
PAYMENT_SECONDS: Final = Histogram(
    "starledger_payment_seconds",
    "Time from the payment, by Telegram's stamp in whole seconds, to access.",
    ["channel"],
    buckets=(1, 2, 3, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400),
)
REFUNDS: Final = Counter("starledger_refunds", "Refunds, by what became of them.", ["channel", "outcome"])
REFUND_SECONDS: Final = Histogram(
    "starledger_refund_seconds",
    "Time from a refund on record to access taken away.",
    ["channel"],
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600, 21_600, 86_400),
)
FAILED_ATTEMPTS: Final = Counter(
    "starledger_failed_attempts", "Attempts to bring a charge or a refund to its end that failed.", ["event"]
)


def count_processed(event: StripeEvent) -> None:
    """Count a settled event by its outcome, and observe the time that it took."""
    is_refund = event.refund_of is not None
    counter, seconds = (REFUNDS, REFUND_SECONDS) if is_refund else (PAYMENTS, PAYMENT_SECONDS)
    counter.labels(event.payment_method, event.outcome or GIVING_BACK).inc()
    began = event.created_at if is_refund else event.webhook_timestamp
    is_done = event.outcome == (EventOutcome.REFUNDED if is_refund else EventOutcome.GRANTED)
    if is_done and began is not None and event.processed_at is not None:
        # Telegram's clock and ours may differ by a little.
        seconds.labels(event.payment_method).observe(max(0.0, (event.processed_at - began).total_seconds()))


def count_failed_attempt(event: StripeEvent) -> None:
    """Count a failed attempt at an event, the last one or not."""
    FAILED_ATTEMPTS.labels("charge" if event.refund_of is None else "refund").inc()
