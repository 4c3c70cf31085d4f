import ast
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from string import Formatter
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from babel.messages import Catalog
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from bot.chat.words import PLAIN, for_language, load_locales
from db.states import CheckoutVerdict, Renewal
from payments.audit.history import EntryState
from payments.errors import RefundRefusal
from payments.sale.eligibility import PurchaseObstacle
from payments.settlement.judgement import GIVEN_BACK_FOR, ChargeProblem

BOT: Final = Path(__file__).parents[3] / "bot"
LOCALES: Final = BOT / "locales"
ENGLISH: Final = LOCALES / "en" / "LC_MESSAGES" / "starledger.po"
PO_FILES: Final = sorted(LOCALES.rglob("*.po"))
TAGS: Final = {"b", "i", "u", "s", "code", "pre", "a", "blockquote"}
"""Of the tags that Telegram knows (Bot API, HTML style), those that our texts may use."""

NOW: Final = datetime(2026, 12, 23, 7, 2, 30, tzinfo=UTC)
WORDS: Final = for_language("en")


class Use(NamedTuple):
    """One call of say() or plain() in the code; `is_prefix`: the key's end is known at run time only."""

    key: str
    is_prefix: bool
    is_plain: bool
    values: frozenset[str]
    place: str


def texts(catalog: Catalog) -> dict[str, list[str]]:
    """Return every translated key with its text, or with its plural forms."""
    found = {}
    for message in catalog:
        if message.id and message.string:
            key, forms = (each if isinstance(each, list | tuple) else [each] for each in (message.id, message.string))
            found[str(key[0])] = [str(form) for form in forms]
    return found


def read(po_file: Path) -> dict[str, list[str]]:
    return texts(read_po(BytesIO(po_file.read_bytes())))


def placeholders(forms: list[str]) -> set[str]:
    return {name for form in forms for _, name, _, _ in Formatter().parse(form) if name is not None}


def uses() -> Iterator[Use]:
    for path in sorted(BOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"say", "plain"}
            ):
                place = f"{path.relative_to(BOT)}:{node.lineno}"
                values = frozenset(keyword.arg or "**" for keyword in node.keywords)
                for key, is_prefix in literals(node.args[0], place):
                    yield Use(key, is_prefix, node.func.attr == "plain", values, place)


def literals(node: ast.expr, place: str) -> Iterator[tuple[str, bool]]:
    match node:
        case ast.Constant(str(key)):
            yield key, False
        case ast.JoinedStr([ast.Constant(str(beginning)), *_]):
            yield beginning, True
        case ast.IfExp(_, one, other):
            yield from literals(one, place)
            yield from literals(other, place)
        case _:
            raise AssertionError(f"{place}: write the key, or its beginning, into the call, so that it can be found")


def keys_of(use: Use, known: dict[str, list[str]]) -> list[str]:
    return [key for key in known if (key.startswith(use.key) if use.is_prefix else key == use.key)]


def test_every_use_names_a_text_that_is_there_and_gives_its_values() -> None:
    known = read(ENGLISH)
    for use in uses():
        keys = keys_of(use, known)
        assert keys, f"{use.place}: no text has the key {use.key}"
        wanted = {name for key in keys for name in placeholders(known[key])}
        given = use.values - {"**"}
        fits = given <= wanted if "**" in use.values else given == wanted
        assert fits, f"{use.place}: {use.key} takes {sorted(wanted)}"
        is_plural = {len(known[key]) > 1 for key in keys}
        assert is_plural == {"count" in given}, f"{use.place}: count is for plural forms, and for all of them"


@pytest.mark.criterion("S5")
def test_markup_is_said_and_plain_text_is_plain() -> None:
    for use in uses():
        assert use.key.startswith(PLAIN) == use.is_plain, f"{use.place}: {use.key}"


def test_every_text_is_used() -> None:
    known = read(ENGLISH)
    assert known.keys() == {key for use in uses() for key in keys_of(use, known)}


def test_every_choice_of_the_program_has_its_words() -> None:
    wanted: dict[str, set[str]] = {
        "decline.": {*CheckoutVerdict, *PurchaseObstacle} - {CheckoutVerdict.ACCEPTED},
        "refused.": {*RefundRefusal},
        "state.": {*EntryState},
        "why.": {*ChargeProblem, *GIVEN_BACK_FOR},
        "wanted.": {*Renewal},
    }
    known = read(ENGLISH)
    for prefix, choices in wanted.items():
        assert {key for key in known if key.startswith(prefix)} == {prefix + choice for choice in choices}


@pytest.mark.parametrize("po_file", PO_FILES, ids=lambda path: path.parts[-3])
def test_the_compiled_words_are_those_of_the_source(po_file: Path) -> None:
    compiled = texts(read_mo(BytesIO(po_file.with_suffix(".mo").read_bytes())))
    assert compiled == read(po_file), "compile them: make messages"


@pytest.mark.parametrize("po_file", PO_FILES, ids=lambda path: path.parts[-3])
def test_every_text_is_one_that_telegram_takes(po_file: Path) -> None:
    english = read(ENGLISH)
    for key, forms in read(po_file).items():
        assert placeholders(forms) <= placeholders(english[key]), key
        for form in forms:
            root = ET.fromstring(f"<text>{form}</text>")  # noqa: S314 - our own text
            tags = {element.tag for element in root.iter()} - {"text"}
            assert tags <= (set() if key.startswith(PLAIN) else TAGS), key
            longest = {"command.": 256, "toast.": 200}  # Bot API: BotCommand.description, answerCallbackQuery.text
            assert len(form) <= next((most for prefix, most in longest.items() if key.startswith(prefix)), 1024), key


@pytest.mark.criterion("S5")
@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=20).map(lambda text: f"<b>&{text}\"'</i>")
)
def test_no_value_becomes_markup(value: str) -> None:
    for key, forms in read(ENGLISH).items():
        if key.startswith(PLAIN) or len(forms) > 1:
            continue
        names = placeholders(forms)
        values: dict[str, Any] = dict.fromkeys(names, value)
        said = WORDS.say(key, **values)
        element = ET.fromstring(f"<text>{said}</text>")  # noqa: S314 - our own text
        template = ET.fromstring(f"<text>{forms[0]}</text>")  # noqa: S314 - our own text
        assert [each.tag for each in element.iter()] == [each.tag for each in template.iter()]
        assert "".join(element.itertext()) == "".join(template.itertext()).format(**values)


def test_markup_inside_another_text_is_not_escaped_twice() -> None:
    who = WORDS.say("person.named", username="<ann>", telegram_id=7)
    assert WORDS.say("history.title_of", who=who) == "<b>Payments of @&lt;ann&gt; (<code>7</code>)</b>"
    assert isinstance(WORDS.say("history.title_of", who=who), Markup)


def test_plain_text_shows_values_as_they_are() -> None:
    assert WORDS.plain("button.plan", title="Q & A", price="1 ⭐") == "Q & A · 1 ⭐"


@pytest.mark.parametrize(
    ("until", "said"),
    [
        (timedelta(days=30), "30 days left"),
        (timedelta(days=29, seconds=1), "30 days left"),
        (timedelta(days=1), "1 day left"),
        (timedelta(seconds=1), "1 day left"),
    ],
)
def test_days_left_count_a_begun_one(until: timedelta, said: str) -> None:
    assert WORDS.left(NOW + until, NOW) == said


@pytest.mark.parametrize("moment", [NOW, NOW.astimezone(timezone(timedelta(hours=-11)))])
def test_a_date_says_its_zone(moment: datetime) -> None:
    assert WORDS.date(moment) == "23 December 2026, 07:02 UTC"


@pytest.mark.parametrize(
    ("amount", "currency", "said"),
    [(1, "XTR", "1 ⭐"), (1500, "XTR", "1,500 ⭐"), (499, "USD", "4.99 USD"), (500, "JPY", "500 JPY")],
)
def test_an_amount_is_in_the_minor_unit_of_its_currency(amount: int, currency: str, said: str) -> None:
    assert WORDS.money(amount, currency) == said


@pytest.fixture
def with_polish(tmp_path: Path) -> Path:
    """Give the languages with a second one, of which some texts are not translated yet."""
    directory = tmp_path / "locales"
    shutil.copytree(LOCALES, directory)
    polish = Catalog(locale="pl", domain="starledger", charset="utf-8")
    polish.add("status.title", "<b>Twoje</b>")
    polish.add(("left", "left"), ("jeszcze {count} dzień", "jeszcze {count} dni", "jeszcze {count} dni"))
    polish.add("format.date", "d MMMM y, HH:mm 'UTC'")
    target = directory / "pl" / "LC_MESSAGES" / "starledger.mo"
    target.parent.mkdir(parents=True)
    with target.open("wb") as file:
        write_mo(file, polish)
    return directory


def test_a_language_that_nobody_compiled_ends_the_program_in_one_line(with_polish: Path) -> None:
    (with_polish / "en" / "LC_MESSAGES" / "starledger.mo").unlink()
    with pytest.raises(SystemExit, match=r"^Found locale 'en' .*: make messages$"):
        load_locales(with_polish)


@pytest.mark.parametrize("code", ["pl", "PL", "pl-PL"])
def test_a_language_is_found_by_its_tag(with_polish: Path, code: str) -> None:
    words = for_language(code, load_locales(with_polish))
    assert words.say("status.title") == "<b>Twoje</b>"
    assert words.left(NOW + timedelta(days=5), NOW) == "jeszcze 5 dni"
    assert words.date(NOW) == "23 grudnia 2026, 07:02 UTC"


def test_untranslated_text_is_english(with_polish: Path) -> None:
    words = for_language("pl", load_locales(with_polish))
    assert words.say("status.nothing") == WORDS.say("status.nothing")
    assert words.say("pending.more", count=3) == "… and 3 more."


@pytest.mark.parametrize("code", [None, "", "tlh", "en-GB", "not a language", "\x00", "🙂" * 100])
def test_a_language_without_words_has_the_english_ones(code: str | None) -> None:
    assert for_language(code).say("status.title") == "<b>What you have</b>"
