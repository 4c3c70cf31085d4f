"""The subjects of the commits since `BASE`, by the fifth rule of docs/code.md, "How we write"."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
BASE: Final = "68a8d211f68d"
"""The last commit before the rule."""
LENGTH_MAX: Final = 72

SUBJECT: Final = re.compile(r"(?P<area>[a-z][a-z0-9',/._ -]*): (?P<verb>[a-z]+(?:-[a-z]+)?)(?: .*)?(?<![.\s])")
NO_VERBS: Final = frozenset(
    {"a", "an", "the", "no", "not", "some", "every", "new", "when", "if", "for", "in", "of", "to", "we", "it", "this"}
    | {"who", "whoever", "what", "whether", "which"}
)
VERBS_WITH_SUCH_AN_END: Final = frozenset(
    {"bring", "string", "ring", "need", "feed", "seed", "embed", "exceed", "focus"}
)


def complaint(subject: str) -> str | None:
    """Return what is wrong with a commit's subject; None: nothing."""
    if len(subject) > LENGTH_MAX:
        return f"it has {len(subject)} characters, and {LENGTH_MAX} are the most"
    match = SUBJECT.fullmatch(subject)
    if match is None:
        return "it is not `area: verb ...`, in lower case and without a full stop"
    verb = match["verb"]
    is_inflected = re.search(r"(?:ed|ing|[^s]s)$", verb) is not None and verb not in VERBS_WITH_SUCH_AN_END
    if verb in NO_VERBS or is_inflected:
        return f"'{verb}' is no imperative"
    return None


def git(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Ask git about this tree."""
    return subprocess.run(("git", "-C", str(ROOT), *arguments), capture_output=True, text=True, check=False)  # noqa: S603, S607 - git


@pytest.mark.parametrize(
    "subject",
    [
        "refunds: keep the key until the attempt has failed",
        "others' rows, erase: show nothing whole that is odd",
        "db/lock: bring the holder's name",
        "tests: release",
    ],
)
def test_a_subject_by_the_rule_passes(subject: str) -> None:
    assert complaint(subject) is None


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("refunds: keep " + "x" * 59, "73 characters"),
        ("keep the key until the attempt has failed", "area: verb"),
        ("Refunds: keep the key", "area: verb"),
        ("refunds: Keep the key", "area: verb"),
        ("refunds: keep the key.", "area: verb"),
        ("refunds: kept: the key", "area: verb"),
        ("refunds: the key is kept", "'the' is no imperative"),
        ("refunds: who asks is told", "'who' is no imperative"),
        ("refunds: keeps the key", "'keeps' is no imperative"),
        ("refunds: added a key", "'added' is no imperative"),
        ("refunds: keeping the key", "'keeping' is no imperative"),
    ],
)
def test_a_subject_against_the_rule_is_told(subject: str, said: str) -> None:
    assert said in str(complaint(subject))


def test_the_subjects_since_the_base_follow_the_rule() -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    if Path(git("rev-parse", "--show-toplevel").stdout.strip() or "/").resolve() != ROOT.resolve():
        pytest.skip("this tree has no history of its own: it was exported or copied")
    if git("merge-base", "--is-ancestor", BASE, "HEAD").returncode != 0:
        pytest.skip(f"the history does not reach back to {BASE}: git fetch --unshallow brings it")
    subjects = git("log", "--no-merges", "--format=%h %s", f"{BASE}..HEAD").stdout.splitlines()
    told = {subject: complaint(subject.partition(" ")[2]) for subject in subjects}
    assert {subject: said for subject, said in told.items() if said is not None} == {}
