"""Loads the catalog from its TOML file, checks it whole, and explains each mistake in it to the seller.

The sentences are for a shopkeeper, who need not be a programmer: each names the key as the file writes it, and the
value that the key needs.
"""

import json
import re
import tomllib
import unicodedata
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

from babel.numbers import list_currencies
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from db.limits import AMOUNT_MAX
from payments.errors import PaymentError
from payments.sale.catalog import Catalog, Plan
from payments.sale.payload import CODE_PATTERN, DAYS_MAX

PRICE_STARS_MAX: Final = 100_000
"""Highest price of a one-time invoice: others have measured it, because the Bot API names no figure."""
SUBSCRIPTION_PRICE_STARS_MAX: Final = 10_000
"""Bot API, createInvoiceLink, subscription_period."""
TITLE_LENGTH_MAX: Final = 32
"""Bot API, sendInvoice."""
DESCRIPTION_LENGTH_MAX: Final = 255
"""Bot API, sendInvoice."""
ON_SALE_MAX: Final = 100
"""An inline keyboard holds at most 100 buttons, and each plan on sale has one."""
ENTITLEMENTS_MAX: Final = 10

_CODE_RULE: Final = "1 to 20 characters out of a-z, 0-9 and _"
_HEADING_RULE: Final = "a plan begins with its heading, such as [plans.premium_monthly]"
_LINE_RULE: Final = "must be one line of 1 to {} characters (an emoji counts as two or more) with no space at its ends"


class CatalogError(PaymentError):
    """The desk cannot use the catalog; the text lists every mistake for the seller, one a line."""


def _check_line(value: str, info: ValidationInfo) -> str:
    # Telegram does not document its count, characters or UTF-16 units. UTF-16 is never the smaller count, so Telegram
    # takes every text that passes here, and refuses none when somebody wants to buy.
    length = len(value.encode("utf-16-le")) // 2
    length_max = TITLE_LENGTH_MAX if info.field_name == "title" else DESCRIPTION_LENGTH_MAX
    breaks_line = any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in value)
    if not 1 <= length <= length_max or value != value.strip() or breaks_line:
        raise ValueError
    return value


def _check_stars(value: int, info: ValidationInfo) -> int:
    if not 1 <= value <= PRICE_STARS_MAX:
        raise ValueError
    if info.data.get("subscription") and value > SUBSCRIPTION_PRICE_STARS_MAX:
        raise PydanticCustomError("rule", f"a subscription costs at most {SUBSCRIPTION_PRICE_STARS_MAX} Stars")
    return value


def _forbid_days(value: object, info: ValidationInfo) -> object:
    if info.data.get("subscription"):
        raise PydanticCustomError("rule", "a subscription has none, Telegram renews it every 30 days: leave it out")
    return value


def _forbid_prices(value: object, info: ValidationInfo) -> object:
    if info.data.get("subscription"):
        raise PydanticCustomError("rule", "a subscription is paid in Stars only: leave them out")
    return value


def _list_one(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _check_distinct(value: list[str]) -> list[str]:
    if len(set(value)) != len(value):
        raise ValueError
    return value


def _check_currency(value: str) -> str:
    # The list has currencies out of use too, because a plan once sold stays in the file and may outlive its currency.
    if value not in list_currencies():
        raise PydanticCustomError("rule", "is not the code of a currency, such as USD; the price in Stars is `stars`")
    return value


_Code = Annotated[str, Field(pattern=f"^{CODE_PATTERN}$")]
_Line = Annotated[str, AfterValidator(_check_line)]
_Entitlements = Annotated[list[_Code], Field(min_length=1, max_length=ENTITLEMENTS_MAX)]
_Currency = Annotated[str, AfterValidator(_check_currency)]
_Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PlanTable(_Table):
    """One plan of the catalog file, checked; each field's description explains a mistake in it to the seller."""

    # First, because the checks of the fields below read it.
    subscription: bool = Field(default=False, description="must be true or false")
    title: _Line = Field(description=_LINE_RULE.format(TITLE_LENGTH_MAX))
    description: _Line = Field(description=_LINE_RULE.format(DESCRIPTION_LENGTH_MAX))
    entitlement: Annotated[_Entitlements | None, BeforeValidator(_list_one), AfterValidator(_check_distinct)] = Field(
        default=None,
        description=f"must be a name of {_CODE_RULE}, or a list of 1 to {ENTITLEMENTS_MAX} different ones",
    )
    stars: Annotated[int, AfterValidator(_check_stars)] = Field(
        description=f"must be a whole number from 1 to {PRICE_STARS_MAX}"
    )
    days: Annotated[int | None, Field(ge=1, le=DAYS_MAX), BeforeValidator(_forbid_days)] = Field(
        default=None, description=f"must be a whole number from 1 to {DAYS_MAX}; left out, access is for ever"
    )
    prices: Annotated[dict[_Currency, _Amount], BeforeValidator(_forbid_prices)] = Field(
        default_factory=dict,
        description=f"must be a whole number from 1 to {AMOUNT_MAX} in the currency's smallest unit, "
        "such as { USD = 499 } for 4.99 dollars",
    )
    retired: bool = Field(default=False, description="must be true or false")


class _Document(_Table):
    plans: Annotated[dict[_Code, PlanTable], Field(min_length=1)]


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


def check_document(document: dict[str, Any]) -> tuple[dict[str, PlanTable], list[str]]:
    """Return the plans of a catalog file's TOML by code, in order, and a sentence for each mistake.

    The caller may use the plans only if there is no mistake.
    """
    crowd = _explain_crowd(document)
    try:
        return _Document.model_validate(document).plans, crowd
    except ValidationError as error:
        # One fault may break several rules of its field, which all end in the same sentence.
        return {}, list(dict.fromkeys([*map(_explain, error.errors()), *crowd]))


def _explain_crowd(document: dict[str, Any]) -> list[str]:
    plans = document.get("plans")
    tables = plans.values() if isinstance(plans, dict) else ()
    on_sale = sum(1 for table in tables if not (isinstance(table, dict) and table.get("retired") is True))
    if on_sale <= ON_SALE_MAX:
        return []
    return [f"plans: {on_sale} are on sale, more than the {ON_SALE_MAX} buttons that a message can have: retire some"]


def _explain(error: ErrorDetails) -> str:
    """Explain one validation error of the catalog file in words for the seller."""
    where = [str(part) for part in error["loc"]]
    match error["type"], where:
        case "extra_forbidden", [_]:
            said = f"is not known here; {_HEADING_RULE}"
        case "extra_forbidden", _:
            said = f"is not a setting of a plan; there are {', '.join(PlanTable.model_fields)}"
        case _, ["plans"]:
            said = f"there is none; {_HEADING_RULE}"
        case _, ["plans", _]:
            said = "must be a section of settings, with its name as the heading"
        case _, ["plans", _, "[key]"]:
            said = f"the code of a plan must be {_CODE_RULE}"
        case "rule", _:
            said = error["msg"]
        case "missing", [_, _, setting]:
            said = f"is missing; it {PlanTable.model_fields[setting].description}"
        case _:
            said = str(PlanTable.model_fields[where[2]].description)
            if where[2] == "entitlement":
                del where[3:]  # a place in the list: the sentence is about the whole of it
    return f"{_key([part for part in where if part != '[key]'])}: {said}"


def _key(parts: list[str]) -> str:
    """Write a key of the catalog file as TOML does, with quotes around a part that needs them."""
    return ".".join(part if re.fullmatch("[A-Za-z0-9_-]+", part) else json.dumps(part) for part in parts)
