"""A text cut at its entities, whose places count UTF-16 units."""

from hypothesis import given
from hypothesis import strategies as st

from sandbox.page.rich_text import Piece, pieces
from sandbox.text.parts import utf16_length

TEXTS = st.text(st.sampled_from("ab <&/é🙂👍🏽\n"), max_size=20)


@st.composite
def marked_texts(draw: st.DrawFn) -> tuple[str, list[dict[str, object]]]:
    """Give a text with entities around whole characters, which overlap as they like."""
    text = draw(TEXTS)
    entities: list[dict[str, object]] = []
    for kind in draw(st.lists(st.sampled_from(["bold", "italic", "code"]), max_size=4)):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, len(text)))
        offset, length = utf16_length(text[:start]), utf16_length(text[start:end])
        entities.append({"type": kind, "offset": offset, "length": length})
    return text, entities


@given(marked_texts())
def test_the_pieces_are_the_text_and_each_entity_covers_what_it_says(
    marked: tuple[str, list[dict[str, object]]],
) -> None:
    text, entities = marked
    cut = pieces(text, entities)
    assert "".join(piece.text for piece in cut) == text
    for entity in entities:
        covered = sum(utf16_length(piece.text) for piece in cut if entity in piece.entities)
        assert covered == entity["length"]


def test_an_emoji_counts_as_two_units() -> None:
    bold = {"type": "bold", "offset": 3, "length": 2}
    assert pieces("🙂 hi!", [bold]) == [Piece("🙂 ", ()), Piece("hi", (bold,)), Piece("!", ())]


def test_a_lone_surrogate_becomes_what_a_browser_can_be_sent() -> None:
    assert pieces("a\ud83db", []) == [Piece("a\ufffdb", ())]
