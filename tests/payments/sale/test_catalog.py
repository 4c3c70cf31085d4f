import re
from pathlib import Path

import pytest

from payments.sale.catalog import Plan
from payments.sale.catalog_file import CatalogError, load_catalog, parse_catalog

EXAMPLE = Path(__file__).parents[3] / "catalog.example.toml"


def plan_text(code: str = "monthly", **settings: str) -> str:
    """Write a good plan's section, with these settings (as TOML) set or, where empty, left out."""
    lines = {"title": '"Month"', "description": '"All"', "stars": "200"} | settings
    return "\n".join([f"[plans.{code}]", *(f"{key} = {value}" for key, value in lines.items() if value)])


def the_plan(**settings: str) -> Plan:
    plan = parse_catalog(plan_text(**settings), "catalog.toml").get("monthly")
    assert plan is not None
    return plan


def mistakes(text: str) -> list[str]:
    """Give the lines of the error that this catalog earns, without the first."""
    with pytest.raises(CatalogError) as caught:
        parse_catalog(text, "catalog.toml")
    first, *lines = str(caught.value).split("\n  ")
    assert first == f"catalog.toml: to be corrected ({len(lines)}):"
    return lines


def test_a_plan_is_read_with_all_its_settings() -> None:
    assert the_plan(
        entitlement='["premium", "archive"]', days="30", prices="{ USD = 499, JPY = 700 }", retired="true"
    ) == Plan(
        code="monthly",
        title="Month",
        description="All",
        entitlements=("premium", "archive"),
        price_stars=200,
        days=30,
        prices={"USD": 499, "JPY": 700},
        retired=True,
        subscription=False,
    )


def test_plan_without_days_and_entitlements_is_lifetime_of_its_code() -> None:
    assert the_plan() == Plan("monthly", "Month", "All", ("monthly",), 200)


def test_single_entitlement_needs_no_list() -> None:
    assert the_plan(entitlement='"premium"').entitlements == ("premium",)


def test_plans_on_sale_keep_the_files_order_and_retired_ones_are_found_by_code() -> None:
    text = "\n".join([plan_text("zebra"), plan_text("old", retired="true"), plan_text("ant")])
    catalog = parse_catalog(text, "catalog.toml")
    assert [plan.code for plan in catalog.on_sale] == ["zebra", "ant"]
    retired = catalog.get("old")
    assert retired is not None
    assert retired.retired
    assert catalog.get("never") is None


def test_the_bounds_themselves_are_allowed() -> None:
    longest = the_plan(
        title=f'"{"t" * 32}"', description=f'"{"d" * 255}"', stars="100000", days="36500", prices="{ USD = 2147483647 }"
    )
    assert (len(longest.title), len(longest.description), longest.price_stars, longest.days) == (
        32,
        255,
        100_000,
        36_500,
    )
    assert the_plan(subscription="true", stars="10000").subscription
    assert parse_catalog(plan_text("p" * 20, entitlement=f'"{"e" * 20}"'), "catalog.toml").get("p" * 20)
    ten = tuple(f"e{number}" for number in range(10))
    assert the_plan(entitlement=str(list(ten))).entitlements == ten


LINE_32 = "must be one line of 1 to 32 characters (an emoji counts as two or more) with no space at its ends"
LINE_255 = "must be one line of 1 to 255 characters (an emoji counts as two or more) with no space at its ends"
STARS = "must be a whole number from 1 to 100000"
DAYS = "must be a whole number from 1 to 36500; left out, access is for ever"
ENTITLEMENT = "must be a name of 1 to 20 characters out of a-z, 0-9 and _, or a list of 1 to 10 different ones"
PRICES = (
    "must be a whole number from 1 to 2147483647 in the currency's smallest unit, "
    "such as { USD = 499 } for 4.99 dollars"
)
CURRENCY = "is not the code of a currency, such as USD; the price in Stars is `stars`"


@pytest.mark.parametrize(
    ("setting", "value", "mistake"),
    [
        *[
            ("title", value, f"title: {LINE_32}")
            for value in ['""', f'"{"t" * 33}"', '" Month"', '"Month\\u00a0"', "5"]
        ],
        *[("title", value, f"title: {LINE_32}") for value in ['"a\\u0000b"', '"a\\u2028b"', '"a\\u0085b"']],
        ("title", f'"{"🌟" * 17}"', f"title: {LINE_32}"),
        ("title", "", f"title: is missing; it {LINE_32}"),
        *[("description", value, f"description: {LINE_255}") for value in [f'"{"d" * 256}"', '"a\\nb"', '"a "']],
        *[("stars", value, f"stars: {STARS}") for value in ["0", "-5", "100001", "true", '"200"', "2.0", "1979-05-27"]],
        *[("days", value, f"days: {DAYS}") for value in ["0", "-1", "36501", "true", '"30"', "30.0", "nan"]],
        *[("entitlement", value, f"entitlement: {ENTITLEMENT}") for value in ['""', "[]", '["a", "a"]', '"Pro"', "1"]],
        ("entitlement", f'"{"e" * 21}"', f"entitlement: {ENTITLEMENT}"),
        ("entitlement", str([f"e{number}" for number in range(11)]), f"entitlement: {ENTITLEMENT}"),
        ("prices", "{ USD = 0 }", f"prices.USD: {PRICES}"),
        ("prices", "{ USD = 4.99 }", f"prices.USD: {PRICES}"),
        ("prices", "{ USD = true }", f"prices.USD: {PRICES}"),
        ("prices", "{ USD = 2147483648 }", f"prices.USD: {PRICES}"),
        ("prices", "499", f"prices: {PRICES}"),
        *[("prices", f"{{ {code} = 5 }}", f"prices.{code}: {CURRENCY}") for code in ["usd", "XTR", "EURO", "ZZQ"]],
        ("retired", '"yes"', "retired: must be true or false"),
        ("subscription", "1", "subscription: must be true or false"),
    ],
)
def test_a_wrong_setting_is_told_with_its_key_and_what_must_stand_there(setting: str, value: str, mistake: str) -> None:
    assert mistakes(plan_text(**{setting: value})) == [f"plans.monthly.{mistake}"]


def test_a_subscription_has_no_days_no_card_price_and_a_lower_bound_on_stars() -> None:
    assert mistakes(plan_text(subscription="true", stars="10001", days="30", prices="{ USD = 5 }")) == [
        "plans.monthly.stars: a subscription costs at most 10000 Stars",
        "plans.monthly.days: a subscription has none, Telegram renews it every 30 days: leave it out",
        "plans.monthly.prices: a subscription is paid in Stars only: leave them out",
    ]


def test_every_mistake_of_a_file_is_told_at_once() -> None:
    text = "\n".join(
        ["shop = 1", plan_text("good"), plan_text("a", stars="0", days="0"), plan_text("b", colour='"red"', title="")]
    )
    known = "subscription, title, description, entitlement, stars, days, prices, retired"
    assert mistakes(text) == [
        f"plans.a.stars: {STARS}",
        f"plans.a.days: {DAYS}",
        f"plans.b.title: is missing; it {LINE_32}",
        f"plans.b.colour: is not a setting of a plan; there are {known}",
        "shop: is not known here; a plan begins with its heading, such as [plans.premium_monthly]",
    ]


@pytest.mark.parametrize(
    ("heading", "shown"),
    [
        ("Premium", "Premium"),
        ("p" * 21, "p" * 21),
        ('"a b"', '"a b"'),
        ('"a\\u0000\\n"', '"a\\u0000\\n"'),
        ('""', '""'),
    ],
)
def test_a_code_that_telegram_or_the_payload_could_not_carry_is_refused(heading: str, shown: str) -> None:
    assert mistakes(plan_text(heading)) == [
        f"plans.{shown}: the code of a plan must be 1 to 20 characters out of a-z, 0-9 and _"
    ]


@pytest.mark.parametrize("text", ["", "plans = 3", "[plans]", "[[plans]]"])
def test_a_catalog_without_plans_is_refused(text: str) -> None:
    assert mistakes(text) == ["plans: there is none; a plan begins with its heading, such as [plans.premium_monthly]"]


def test_a_plan_that_is_no_section_is_refused() -> None:
    assert mistakes("[plans]\nmonthly = 200") == [
        "plans.monthly: must be a section of settings, with its name as the heading"
    ]


def test_no_more_plans_are_on_sale_than_a_message_has_buttons() -> None:
    hundred = "\n".join(plan_text(f"p{number}") for number in range(100))
    with_retired = parse_catalog(f"{hundred}\n{plan_text('old', retired='true')}", "catalog.toml")
    assert len(with_retired.on_sale) == 100
    crowd = "plans: 101 are on sale, more than the 100 buttons that a message can have: retire some"
    assert mistakes(f"{hundred}\n{plan_text('more')}") == [crowd]
    assert mistakes(f"{hundred}\n{plan_text('more', stars='0')}") == [f"plans.more.stars: {STARS}", crowd]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[plans.a]\nstars 200", "line 2"),
        (f"{plan_text('a')}\n{plan_text('a')}", "line 5"),
        ("stars = " + "9" * 5000, "limit"),
        ("stars = " + "[" * 5000, "(recursion|nested)"),
    ],
)
def test_broken_toml_is_told_in_one_sentence(text: str, reason: str) -> None:
    with pytest.raises(CatalogError, match=f"^catalog.toml: this is not TOML: [^\n]*{reason}[^\n]*$"):
        parse_catalog(text, "catalog.toml")


def test_a_file_is_read_as_editors_on_windows_write_it(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_bytes(b"\xef\xbb\xbf" + plan_text(title='"Één maand"').replace("\n", "\r\n").encode())
    plan = load_catalog(path).get("monthly")
    assert plan is not None
    assert plan.title == "Één maand"


def test_a_file_in_another_encoding_is_told_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_bytes(plan_text(title='"Één maand"').encode("latin-1"))
    with pytest.raises(
        CatalogError, match=f"^{re.escape(str(path))}: line 2 is not UTF-8 text; save the file as UTF-8$"
    ):
        load_catalog(path)


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"missing\.toml: there is no such file; copy catalog\.example\.toml to it"):
        load_catalog(tmp_path / "missing.toml")
    with pytest.raises(CatalogError, match=r"the catalog cannot be read: Is a directory$"):
        load_catalog(tmp_path)


def test_the_example_shows_each_kind_of_plan() -> None:
    catalog = load_catalog(EXAMPLE)
    assert [plan.code for plan in catalog.on_sale] == [
        "day_pass",
        "premium_monthly",
        "premium_yearly",
        "premium_auto",
        "lifetime",
    ]
    everything = list(catalog.plans.values())
    assert any(plan.retired for plan in everything)
    assert any(plan.subscription for plan in everything)
    assert any(plan.days is None and not plan.subscription for plan in catalog.on_sale)
