"""What a report says: figures, each of one currency. Amounts are in its minor unit (Stars: Stars).

Commissions and costs have billionths of it, as Telegram's ledger of Stars has them: nanostars.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import NamedTuple, Self

from payments.ledger.nanostars import NANOSTARS
from payments.reports.spans import Span


@dataclass(frozen=True, slots=True)
class Figures:
    """What some payments add up to. They can be added to others of the same currency, and to no others."""

    revenue: int = 0
    """What was taken, whether or not it was honoured."""
    renewal_revenue: int = 0
    """Of it, what subscriptions were renewed for."""
    given_back: int = 0
    """By refunds and lost disputes, without what of it came back."""
    purchases: int = 0
    """Charges of no subscription."""
    new_subscriptions: int = 0
    """First charges of subscriptions."""
    renewals: int = 0
    refunds: int = 0
    """Refunds, each part by itself, and lost disputes, without those that came back."""
    commission_nanostars: int = 0
    """What affiliates received of the charges, without what came back with refunds. In billionths, as the next."""
    costs_nanostars: int = 0
    """What the bot's Stars went for beside: ads, paid broadcasts, gifts, ..."""

    @property
    def charges(self) -> int:
        """Charges of every kind."""
        return self.purchases + self.new_subscriptions + self.renewals

    @property
    def net(self) -> int:
        """What is left of the revenue, before costs and the fees of Telegram or Stripe; below 0 when more went back."""
        return self.revenue - self.given_back

    @property
    def has_costs(self) -> bool:
        """Tell whether commissions or costs make a difference."""
        return bool(self.commission_nanostars or self.costs_nanostars)

    @property
    def left_nanostars(self) -> int:
        """What is left of the net after commissions and costs, in billionths of the minor unit."""
        return self.net * NANOSTARS - self.commission_nanostars - self.costs_nanostars

    def __add__(self, other: Self) -> "Figures":
        return Figures(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


class Source(NamedTuple):
    """Where money came from."""

    currency: str
    channel: str
    """`stripe_events.payment_method`."""
    plan: str
    """Its code; empty where none is known, as of the rows of other services."""


@dataclass(frozen=True, slots=True)
class Line:
    """The figures of one source, and how many users paid."""

    source: Source
    figures: Figures
    payers: int


@dataclass(frozen=True, slots=True)
class ReportData:
    """What a span comes to: lines by currency, channel and plan, and by currency how many users paid.

    Who bought two plans is one of the payers of either, and one of the currency's.
    """

    span: Span
    lines: tuple[Line, ...]
    payers: Mapping[str, int]

    @property
    def currencies(self) -> list[str]:
        """The currencies in which anything happened, sorted."""
        return sorted({line.source.currency for line in self.lines})

    def figures(self, currency: str) -> Figures:
        """Return what the lines of a currency add up to."""
        return total(line.figures for line in self.lines if line.source.currency == currency)


@dataclass(frozen=True, slots=True)
class Report:
    """A span step by step, and as a whole. But for the payers, the whole is the sum of its steps."""

    steps: tuple[ReportData, ...]
    whole: ReportData


def total(figures: Iterable[Figures]) -> Figures:
    """Add figures of one currency."""
    return sum(figures, Figures())
