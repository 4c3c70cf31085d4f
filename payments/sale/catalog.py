"""The catalog of plans: each plan with its access and its prices, and the terms of an order for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from db.states import STARS_CURRENCY
from payments.sale.payload import Order


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan: one thing that the shop sells, or has sold.

    `days` is the length of access (None: lifetime). A subscription has no `days` either, because Telegram counts its 30
    days (Bot API, createInvoiceLink). `prices` holds the card channel's prices by currency, in minor units.
    """

    code: str
    title: str
    description: str
    entitlements: tuple[str, ...]
    price_stars: int
    days: int | None = None
    prices: Mapping[str, int] = field(default_factory=dict, hash=False)
    retired: bool = False
    subscription: bool = False

    def price(self, currency: str) -> int | None:
        """Return the plan's price in a currency's minor unit (Stars: Stars); None: the plan has no price in it."""
        return self.price_stars if currency == STARS_CURRENCY else self.prices.get(currency)

    def offers(self, order: Order) -> bool:
        """Tell whether an order has the plan's present terms (price, days, subscription); the plan may be retired."""
        offered = (self.price(order.currency), self.days, self.subscription)
        return (order.amount, order.days, order.subscription) == offered


@dataclass(frozen=True, slots=True)
class Catalog:
    """All plans by code, in the order of the file, retired plans among them."""

    plans: Mapping[str, Plan] = field(hash=False)

    @property
    def on_sale(self) -> tuple[Plan, ...]:
        """The plans of the catalog that are not retired, in the order of the file."""
        return tuple(plan for plan in self.plans.values() if not plan.retired)

    def get(self, code: str) -> Plan | None:
        """Return the plan with a code, retired or not; None: the catalog has no such code."""
        return self.plans.get(code)


def order_of(plan: Plan, buyer_telegram_id: int, currency: str = STARS_CURRENCY) -> Order:
    """Return a buyer's order of a plan. Raises ValueError when the plan has no price in the currency."""
    amount = plan.price(currency)
    if amount is None:
        raise ValueError(f"the plan {plan.code} has no price in {currency}")
    return Order(
        plan=plan.code,
        days=plan.days,
        subscription=plan.subscription,
        amount=amount,
        currency=currency,
        buyer_telegram_id=buyer_telegram_id,
    )
