"""Both Markdowns in messages, as TDLib reads them."""

import pytest
from aiogram import Bot
from aiogram.utils.text_decorations import markdown_decoration
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ApiError
from sandbox.people import Person
from sandbox.shapes import Json
from sandbox.text.markdown import parse_markdown
from sandbox.text.markdown_v2 import parse_markdown_v2

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def spans(parsed: tuple[str, list[Json]]) -> list[tuple[str, str]]:
    """Give the kind and the text of each entity."""
    text, entities = parsed
    units = text.encode("utf-16-le")
    return [
        (one["type"], units[one["offset"] * 2 : (one["offset"] + one["length"]) * 2].decode("utf-16-le"))
        for one in entities
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("*bold* _it_", [("bold", "bold"), ("italic", "it")]),
        ("__under__ ~gone~ ||hidden||", [("underline", "under"), ("strikethrough", "gone"), ("spoiler", "hidden")]),
        ("*out _in_*", [("bold", "out in"), ("italic", "in")]),
        ("__under _it_ __", [("underline", "under it "), ("italic", "it")]),
        ("😀`a*b`", [("code", "a*b")]),
        ("```py\nx = 1\n```", [("pre", "x = 1\n")]),
        ("``` x```", [("pre", " x")]),
        (r"[pay](https://t.me/$a\)b)", [("text_link", "pay")]),
        ("[Ann](tg://user?id=5)", [("text_mention", "Ann")]),
        ("[nowhere]( )", []),
        ("[example\\.com]", [("text_link", "example.com")]),
        ("![👍](tg://emoji?id=77)", [("custom_emoji", "👍")]),
        (">one\n>two\nthree", [("blockquote", "one\ntwo\n")]),
        (">one\n>two||", [("expandable_blockquote", "one\ntwo")]),
        (">*one*\n>||two||", [("blockquote", "one\ntwo"), ("bold", "one"), ("spoiler", "two")]),
        ("**", []),
    ],
)
def test_v2_becomes_entities(source: str, expected: list[tuple[str, str]]) -> None:
    assert spans(parse_markdown_v2(source)) == expected


def test_markdown_entity_carries_language_and_link() -> None:
    assert parse_markdown_v2("```py\nx```")[1][0]["language"] == "py"
    assert parse_markdown_v2(r"[a](https://t.me/$a\)b)")[1][0]["url"] == "https://t.me/$a)b"
    assert parse_markdown("[a](https://t.me/$a)")[1][0]["url"] == "https://t.me/$a"
    assert parse_markdown_v2(r"1 \- 2 \\ é\!")[0] == r"1 - 2 \ é!"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("Price: 5.", "Character '.' is reserved and must be escaped with the preceding '\\'"),
        ("a|b", "Character '|' is reserved and must be escaped with the preceding '\\'"),
        ("a > b", "Character '>' is reserved and must be escaped with the preceding '\\'"),
        ("é *bold", "Can't find end of Bold entity at byte offset 3"),
        ("`code", "Can't find end of Code entity at byte offset 0"),
        ("```py\ncode", "Can't find end of PreCode entity at byte offset 0"),
        (">*one\ntwo", "Can't find end of Bold entity at byte offset 1"),
        ("[a](b", "Can't find end of a URL at byte offset 4"),
        ("![a]", "Custom emoji entity must contain a tg://emoji URL"),
        ("![a](tg://emoji?id=x)", "Invalid custom emoji identifier specified"),
    ],
)
def test_v2_is_refused_in_telegrams_words(source: str, words: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_markdown_v2(source)
    assert refused.value.description == f"Bad Request: can't parse entities: {words}"


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("*bold* _it_ `a_b`", "bold it a_b", [("bold", "bold"), ("italic", "it"), ("code", "a_b")]),
        ("[pay](https://t.me/$a) now.", "pay now.", [("text_link", "pay")]),
        ("```py\nx```", "x", [("pre", "x")]),
        (r"snake\_case \x", r"snake_case \x", []),
        ("**", "", []),
    ],
)
def test_the_older_markdown(source: str, text: str, expected: list[tuple[str, str]]) -> None:
    parsed = parse_markdown(source)
    assert (parsed[0], spans(parsed)) == (text, expected)


def test_the_older_markdown_is_refused_where_it_is_not_closed() -> None:
    with pytest.raises(ApiError, match="Can't find end of the entity starting at byte offset 5"):
        parse_markdown("snake_case")


@given(_TEXT)
def test_escaped_markdown_arrives_as_written(text: str) -> None:
    assert parse_markdown_v2(markdown_decoration.quote(text)) == (text, [])


@given(st.text("*_[]()~`>|!\\\n\r a.", max_size=30))
def test_any_text_is_read_or_refused(source: str) -> None:
    for parse in (parse_markdown, parse_markdown_v2):
        try:
            text, entities = parse(source)
        except ApiError:
            continue
        assert all(0 < one["length"] <= len(text) - one["offset"] for one in entities)


async def test_a_bot_that_writes_markdown(bot: Bot, ann: Person) -> None:
    sent = await bot.send_message(ann.id, r"*Paid*\: 5", parse_mode="MarkdownV2")
    assert (sent.text, sent.html_text) == ("Paid: 5", "<b>Paid</b>: 5")
