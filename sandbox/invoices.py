"""Invoices: the sandbox reads them from a call, checks them in Telegram's order, and offers them."""

import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

from babel.numbers import list_currencies

from sandbox.args import Args
from sandbox.errors import ControlError, bad_request
from sandbox.settings import Settings
from sandbox.shapes import Json

STARS = "XTR"
SUBSCRIPTION_PERIOD_SECONDS = 2_592_000
SUBSCRIPTION_STARS_MAX = 10_000
TITLE_LENGTH_MAX = 32
DESCRIPTION_LENGTH_MAX = 255
PAYLOAD_BYTES_MAX = 128
AMOUNT_MAX = 9999_9999_9999
LINK_PREFIX = "https://t.me/$"
_START_PARAMETER = re.compile(r"[A-Za-z0-9_-]{0,64}")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_FLAGS = (
    "need_name",
    "need_phone_number",
    "need_email",
    "need_shipping_address",
    "send_phone_number_to_provider",
    "send_email_to_provider",
    "is_flexible",
)


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice: its goods and its price in the currency's minor unit (Stars: Stars).

    `subscription_period_seconds` is 0 for a one-time sale.
    """

    title: str
    description: str
    payload: str
    currency: str
    total_amount: int
    start_parameter: str = ""
    subscription_period_seconds: int = 0

    def shown(self) -> Json:
        """Return the Bot API's Invoice, which never shows the payload again."""
        return {
            "title": self.title,
            "description": self.description,
            "start_parameter": self.start_parameter,
            "currency": self.currency,
            "total_amount": self.total_amount,
        }


@dataclass(slots=True)
class Offer:
    """A payable invoice: an invoice message (`chat_id` set) or a link.

    With a start_parameter, a message is for its private chat alone and payable once; without one, copies keep a Pay
    button, and anyone can pay them many times, as a link (Bot API, sendInvoice).
    """

    id: str
    invoice: Invoice
    chat_id: int | None = None
    paid: bool = False

    @property
    def once(self) -> bool:
        """Tell whether only one person can pay an invoice, and only once."""
        return bool(self.chat_id and self.chat_id > 0 and self.invoice.start_parameter)

    @property
    def link(self) -> str:
        """Return the invoice's link, as createInvoiceLink returns it."""
        return LINK_PREFIX + self.id


@dataclass(slots=True)
class Offers:
    """All payable invoices."""

    random: Random
    by_id: dict[str, Offer] = field(default_factory=dict)

    def add(self, invoice: Invoice, chat_id: int | None = None) -> Offer:
        """Offer an invoice in a chat, or by link."""
        offer = Offer(f"{self.random.getrandbits(96):024x}", invoice, chat_id)
        self.by_id[offer.id] = offer
        return offer

    def find(self, offer_id: str) -> Offer:
        """Find a payable invoice by its id or its link; raises ControlError."""
        offer = self.by_id.get(offer_id.removeprefix(LINK_PREFIX))
        if offer is None:
            raise ControlError(f"nothing is offered under {offer_id}")
        return offer


@dataclass(frozen=True, slots=True)
class InvoiceRequest:
    """The arguments of sendInvoice or createInvoiceLink after the checks that need no server."""

    invoice: Invoice
    amounts: list[int]
    provider_token: str
    has_tips: bool
    has_flags: bool


def read_invoice(args: Args) -> InvoiceRequest:
    """Read an invoice with telegram-bot-api's own checks, in its order (get_input_message_invoice)."""
    title = args.required("title")
    description = args.required("description")
    payload = args.required("payload")
    if any("\ud800" <= character <= "\udfff" for character in payload):
        raise bad_request("The payload must be encoded in UTF-8")
    currency = args.required("currency")
    args.required("prices")
    amounts = _read_prices(args.json("prices", "Can't parse prices JSON object"))
    has_tips = _read_tips(args)
    invoice = Invoice(
        title,
        description,
        payload,
        currency,
        sum(amounts),
        args.text("start_parameter"),
        args.integer("subscription_period", 0, 0),
    )
    has_flags = any(args.boolean(flag) for flag in _FLAGS)
    return InvoiceRequest(invoice, amounts, args.text("provider_token"), has_tips, has_flags)


def check_amounts(request: InvoiceRequest) -> None:
    """Check the sums of an invoice as TDLib does (LabeledPricePart.cpp)."""
    if any(abs(amount) > AMOUNT_MAX for amount in request.amounts):
        raise bad_request("Too big amount of the currency specified")
    if request.invoice.total_amount <= 0:
        raise bad_request("Total price must be positive")
    if request.invoice.total_amount > AMOUNT_MAX:
        raise bad_request("Total price is too big")


def check_on_server(request: InvoiceRequest, settings: Settings, *, link: bool) -> None:
    """Check an invoice as Telegram's servers do.

    The texts are on the official lists. Developers have seen the text for each fault, except for title and
    description, where it is a guess; the order is ours.
    """
    invoice = request.invoice
    if len(invoice.payload.encode()) > PAYLOAD_BYTES_MAX:
        raise bad_request("INVOICE_PAYLOAD_INVALID")
    if len(invoice.title) > TITLE_LENGTH_MAX or len(invoice.description) > DESCRIPTION_LENGTH_MAX:
        raise bad_request("MEDIA_INVALID")
    _check_start_parameter(invoice.start_parameter)
    if invoice.currency != STARS:
        _check_provider(request, settings)
        return
    if request.provider_token:
        raise bad_request("PAYMENT_PROVIDER_INVALID")
    if len(request.amounts) != 1 or request.has_tips or request.has_flags:
        raise bad_request("STARS_INVOICE_INVALID")
    if invoice.subscription_period_seconds:
        _check_subscription(invoice, link=link)
    elif invoice.total_amount > settings.switches.price_stars_max:
        raise bad_request("CURRENCY_TOTAL_AMOUNT_INVALID")


def _check_start_parameter(start_parameter: str) -> None:
    if len(start_parameter) > 64:  # noqa: PLR2004 - Bot API, deep linking: up to 64 characters
        raise bad_request("START_PARAM_TOO_LONG")
    if not _START_PARAMETER.fullmatch(start_parameter):
        raise bad_request("START_PARAM_INVALID")


def _check_provider(request: InvoiceRequest, settings: Settings) -> None:
    """Check an invoice for a payment by card; the sandbox leaves out Telegram's limits of each currency."""
    is_currency = request.invoice.currency in list_currencies()
    if request.provider_token != settings.provider_token or not is_currency:
        raise bad_request("PAYMENT_PROVIDER_INVALID")
    if request.invoice.subscription_period_seconds:
        raise bad_request("SUBSCRIPTION_PERIOD_INVALID")


def _check_subscription(invoice: Invoice, *, link: bool) -> None:
    if not link:
        raise bad_request("SUBSCRIPTION_EXPORT_MISSING")
    if invoice.subscription_period_seconds != SUBSCRIPTION_PERIOD_SECONDS:
        raise bad_request("SUBSCRIPTION_PERIOD_INVALID")
    if invoice.total_amount > SUBSCRIPTION_STARS_MAX:
        raise bad_request("SUBSCRIPTION_AMOUNT_INVALID")


def _read_prices(prices: Any) -> list[int]:
    if not isinstance(prices, list):
        raise bad_request("Expected an Array of labeled prices")
    amounts = [_read_price(price) for price in prices]
    if not amounts:
        raise bad_request("There must be at least one price")
    return amounts


def _read_price(price: Any) -> int:
    prefix = "Can't parse labeled price: "
    if not isinstance(price, dict):
        raise bad_request(prefix + "LabeledPrice must be an Object")
    if "label" not in price:
        raise bad_request(prefix + 'Can\'t find field "label"')
    if not price["label"]:
        raise bad_request(prefix + "LabeledPrice label must be non-empty")
    if "amount" not in price:
        raise bad_request(prefix + 'Can\'t find field "amount"')
    if not _WHOLE_NUMBER.fullmatch(str(price["amount"])):
        raise bad_request(prefix + 'Field "amount" must be a Number')
    return int(price["amount"])


def _read_tips(args: Args) -> bool:
    """Read the tips of an invoice, which Stars do not have; tell whether there are any."""
    most = args.text("max_tip_amount")
    if most and not _WHOLE_NUMBER.fullmatch(most):
        raise bad_request('Can\'t parse "max_tip_amount" as Number')
    suggested = args.json("suggested_tip_amounts", "Can't parse suggested_tip_amounts JSON object")
    if suggested is not None and not isinstance(suggested, list):
        raise bad_request("Expected an Array of suggested tip amounts")
    return bool(int(most or "0") or suggested)
