"""The catalog of plans, which the desk reads from a TOML file and checks whole before it starts."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from db.states import STARS_CURRENCY
from payments.errors import PaymentError
from payments.sale.catalog_file import PlanTable, check_document
from payments.sale.payload import Order


class CatalogError(PaymentError):
    """The desk cannot use the catalog; the text lists every mistake for the seller, one a line."""


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


def load_catalog(path: Path) -> Catalog:
    """Read the catalog file; raises CatalogError with every mistake in it."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise CatalogError(
            f"{path}: there is no such file; copy catalog.example.toml to it and write your plans"
        ) from error
    except OSError as error:
        raise CatalogError(f"{path}: the catalog cannot be read: {error.strerror}") from error
    try:
        text = raw.decode("utf-8-sig")  # editors on Windows put a byte order mark first
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise CatalogError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from error
    return parse_catalog(text, str(path))


def parse_catalog(text: str, name: str) -> Catalog:
    """Read the text of a catalog file called `name`; raises one CatalogError with every mistake in it."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beside bad syntax: endless digits, endless nesting
        raise CatalogError(f"{name}: this is not TOML: {error}") from error
    tables, mistakes = check_document(document)
    if mistakes:
        raise CatalogError("\n  ".join([f"{name}: to be corrected ({len(mistakes)}):", *mistakes]))
    return Catalog(MappingProxyType({code: _plan(code, table) for code, table in tables.items()}))


def _plan(code: str, table: PlanTable) -> Plan:
    return Plan(
        code=code,
        title=table.title,
        description=table.description,
        entitlements=tuple(table.entitlement or [code]),
        price_stars=table.stars,
        days=table.days,
        prices=MappingProxyType(table.prices),
        retired=table.retired,
        subscription=table.subscription,
    )
