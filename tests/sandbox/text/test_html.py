"""HTML in messages, as TDLib's parse_html reads it."""

import html

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.errors import ApiError
from sandbox.people import Person
from sandbox.text.entities import merge_found
from sandbox.text.html import parse_html
from sandbox.text.parts import utf16_length

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def spans(source: str) -> list[tuple[str, str]]:
    """Give the kind and the text of each entity."""
    text, entities = parse_html(source)
    units = text.encode("utf-16-le")
    return [
        (
            entity["type"],
            units[entity["offset"] * 2 : (entity["offset"] + entity["length"]) * 2].decode("utf-16-le"),
        )
        for entity in entities
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<b>bold</b> <i>it</i>", [("bold", "bold"), ("italic", "it")]),
        ("<B>x</b>", [("bold", "x")]),
        ("<b>out <i>in</i></b>", [("bold", "out in"), ("italic", "in")]),
        ("😀<code>id</code>", [("code", "id")]),
        ("<pre><code class='language-py'>x</code></pre>", [("pre", "x")]),
        ('<code class="language-py"><pre>x</pre></code>', [("pre", "x")]),
        ('<a href="https://t.me/$a?x=1&amp;y=2">pay</a>', [("text_link", "pay")]),
        ('<a href="tg://user?id=5">Ann</a>', [("text_mention", "Ann")]),
        ("<tg-spoiler>s</tg-spoiler><span class='tg-spoiler'>t</span>", [("spoiler", "s"), ("spoiler", "t")]),
        ("<blockquote expandable>q</blockquote>", [("expandable_blockquote", "q")]),
        ("<blockquote>q</>", [("blockquote", "q")]),
        ("<u></u><s>x</s>", [("strikethrough", "x")]),
    ],
)
def test_tags_become_entities(source: str, expected: list[tuple[str, str]]) -> None:
    assert spans(source) == expected


def test_html_entity_carries_language_link_and_emoji() -> None:
    assert parse_html("<pre><code class='language-py'>x</code></pre>")[1][0]["language"] == "py"
    assert parse_html('<a href="https://t.me/$a?x=1&amp;y=2">pay</a>')[1][0]["url"] == "https://t.me/$a?x=1&y=2"
    assert parse_html('<tg-emoji emoji-id="77">x</tg-emoji>')[1][0]["custom_emoji_id"] == "77"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("&lt;b&gt; &amp; &quot;&#39;&#x41;", "<b> & \"'A"),
        ("a & b &unknown; &#0;", "a & b &unknown; &#0;"),
        ("&ltb", "&ltb"),
    ],
)
def test_html_references_are_decoded(source: str, text: str) -> None:
    assert parse_html(source) == (text, [])


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("1 < 2", 'unsupported start tag "" at byte offset 2'),
        ("I <3 you>", 'unsupported start tag "3" at byte offset 2'),
        ("é <x>", 'unsupported start tag "x" at byte offset 3'),
        ("<b", "unclosed start tag at byte offset 0"),
        ("<b>x", 'can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "unexpected end tag at byte offset 1"),
        ("<b>x</i>", 'unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("<b>x</b", "unclosed end tag at byte offset 4"),
        ("<span>x</span>", 'tag "span" must have class "tg-spoiler" at byte offset 0'),
        ('<a href="x', "unclosed start tag at byte offset 0"),
        ("<a href=x?y>z</a>", "unexpected end of name token at byte offset 8"),
        ("<a =x>z</a>", 'empty attribute name in the tag "a" at byte offset 0'),
        ("<tg-emoji emoji-id='x'>y</tg-emoji>", "invalid custom emoji identifier specified"),
    ],
)
def test_wrong_html_is_refused_in_telegrams_words(source: str, complaint: str) -> None:
    with pytest.raises(ApiError) as refusal:
        parse_html(source)
    assert refusal.value.description.lower() == f"bad request: can't parse entities: {complaint}"


async def test_a_bot_that_forgets_to_escape_is_told(bot: Bot, ann: Person) -> None:
    with pytest.raises(TelegramBadRequest, match='can\'t parse entities: Unsupported start tag "script"'):
        await bot.send_message(ann.id, "Hello <script>", parse_mode="HTML")
    sent = await bot.send_message(ann.id, "Hello <b>&lt;Ann&gt;</b>", parse_mode="HTML")
    assert (sent.text, sent.html_text) == ("Hello <Ann>", "Hello <b>&lt;Ann&gt;</b>")
    plain = await bot.send_message(ann.id, "Hello <script>")
    assert plain.text == "Hello <script>"


@settings(deadline=None)
@given(_TEXT)
def test_escaped_text_comes_back_whole(text: str) -> None:
    assert parse_html(html.escape(text)) == (text, [])
    assert parse_html(f"<b>{html.escape(text)}</b>")[0] == text


@settings(deadline=None)
@given(_TEXT)
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parsed, entities = parse_html(text)
    except ApiError:
        return
    assert all(entity["offset"] + entity["length"] <= utf16_length(parsed) for entity in entities)


def test_commands_mentions_and_links_are_found_in_text() -> None:
    text = "😀 /buy@sandbox_bot pro, ask @ann or https://example.com/a?b=1. not/this a@b"
    found = [(entity["type"], entity["offset"], entity["length"]) for entity in merge_found(text, [])]
    assert found == [("bot_command", 3, 16), ("mention", 29, 4), ("url", 37, 25)]


def test_code_contains_no_found_entities() -> None:
    code = {"type": "code", "offset": 0, "length": 4}
    assert merge_found("/buy", [code]) == [code]
