"""The figures of a report, each of one currency. Amounts are in the currency's minor unit (Stars: Stars).

Commissions and costs are in billionths of that unit, as in Telegram's ledger of Stars: nanostars.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import NamedTuple, Self

from payments.ledger.nanostars import NANOSTARS
from payments.reports.spans import Span


@dataclass(frozen=True, slots=True)
class Figures:
    """A report's sums over some payments. Only figures of one currency add up."""

    revenue: int = 0
    """The amount of all charges, settled or not."""
    renewal_revenue: int = 0
    """The part of the revenue from renewals."""
    given_back: int = 0
    """The amount of refunds and lost disputes, less the returned refunds."""
    purchases: int = 0
    """The number of charges without a subscription."""
    new_subscriptions: int = 0
    """The number of first charges of subscriptions."""
    renewals: int = 0
    refunds: int = 0
    """The number of refunds, partial refunds (each by itself) and lost disputes, less the returned refunds."""
    commission_nanostars: int = 0
    """The affiliates' part of the charges, less the part that came back with refunds. In billionths, like the costs."""
    costs_nanostars: int = 0
    """The bot's other costs in Stars: ads, paid broadcasts, gifts."""

    @property
    def charges(self) -> int:
        """The number of charges of every kind."""
        return self.purchases + self.new_subscriptions + self.renewals

    @property
    def net(self) -> int:
        """The net revenue: revenue less refunds, before costs and the fees of Telegram or Stripe; it may be below 0."""
        return self.revenue - self.given_back

    @property
    def has_costs(self) -> bool:
        """Tell whether the report's figures include commissions or costs."""
        return bool(self.commission_nanostars or self.costs_nanostars)

    @property
    def left_nanostars(self) -> int:
        """The net revenue less commissions and costs, in billionths of the minor unit."""
        return self.net * NANOSTARS - self.commission_nanostars - self.costs_nanostars

    def __add__(self, other: Self) -> "Figures":
        return Figures(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


class Source(NamedTuple):
    """The source of revenue in a report: a plan sold over a channel in a currency."""

    currency: str
    channel: str
    """The payment method, `stripe_events.payment_method`."""
    plan: str
    """The plan's code; empty where it is unknown, as for rows of other services."""


@dataclass(frozen=True, slots=True)
class Line:
    """A report's line: the figures of one source, and the number of users who paid."""

    source: Source
    figures: Figures
    payers: int


@dataclass(frozen=True, slots=True)
class ReportData:
    """A report's data for one span: lines by currency, channel and plan, and the number of payers by currency.

    A user with two plans counts once in each line, and once in the currency.
    """

    span: Span
    lines: tuple[Line, ...]
    payers: Mapping[str, int]

    @property
    def currencies(self) -> list[str]:
        """The currencies of a report's lines, sorted."""
        return sorted({line.source.currency for line in self.lines})

    def figures(self, currency: str) -> Figures:
        """Add up the figures of a report's lines in one currency."""
        return total(line.figures for line in self.lines if line.source.currency == currency)


@dataclass(frozen=True, slots=True)
class Report:
    """A report on a span, step by step and as a whole. Except for the payers, the whole is the sum of its steps."""

    steps: tuple[ReportData, ...]
    whole: ReportData


def total(figures: Iterable[Figures]) -> Figures:
    """Add up figures of one currency."""
    return sum(figures, Figures())
