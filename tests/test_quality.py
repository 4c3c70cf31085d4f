"""The project's demands on itself, read from its own files."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.prose import prose_of, without_subject

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("bot", "payments", "entitlements", "db", "sandbox")
DOCUMENTS: Final = (
    "*.md",
    "docs/**/*.md",
    ".env.example",
    "*.example.toml",
    "Makefile",
    "deploy/*",
    "tests/mutants/*.toml",
    "tests/support/*.toml",
    ".ci/*",
    "pyproject.toml",
)
OURS: Final = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
TESTS: Final = sorted((ROOT / "tests").rglob("*.py"))
MODULES: Final = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for file in OURS
    if not file.is_relative_to(ROOT / "sandbox")
}
CONSTANT: Final = re.compile(r"_?[A-Z][A-Z0-9_]*")
PYPROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
COVERED: Final = (ROOT / "tests" / "support" / "covered.py").read_text(encoding="utf-8")
WORKFLOW: Final = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")

UNFINISHED: Final = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError|[Ll]orem ipsum|[Pp]laceholder)\b")
SECRET: Final = re.compile(
    r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}"  # a bot's token
    r"|\b[rs]k_live_[A-Za-z0-9]{10,}"  # Stripe's keys
    r"|\bwhsec_[A-Za-z0-9]{10,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


def _recipe(target: str) -> str:
    found = re.search(rf"^{target}:.*\n((?:\t.*\n|\t.*\\\n)+)", MAKEFILE, re.MULTILINE)
    assert found is not None, target
    return found[1]


@pytest.mark.criterion("Q1")
def test_coverage_is_gated_for_each_package() -> None:
    floors = re.search(r"^FLOORS: Final = dict\.fromkeys\(\((.+)\), (\d+)\)$", COVERED, re.MULTILINE)
    assert floors is not None
    assert {name.strip(' "') for name in floors[1].split(",")} == set(PACKAGES) - {"sandbox"}
    assert int(floors[2]) >= 88
    assert "-p tests.support.covered" in _recipe("test")


@pytest.mark.criterion("Q1")
@pytest.mark.parametrize(("called", "status"), [(("one", "two"), 0), (("one",), 1)])
def test_run_that_covers_less_than_the_floor_fails(tmp_path: Path, called: Sequence[str], status: int) -> None:
    plugin = re.sub(r"^(PACKAGES: Final) = .+$", r"\1 = ('small',)", COVERED, flags=re.MULTILINE)
    plugin = re.sub(r"^(FLOORS: Final) = .+$", r"\1 = {'small': 88}", plugin, flags=re.MULTILINE)
    (tmp_path / "covered.py").write_text(plugin, encoding="utf-8")
    (tmp_path / "small").mkdir()
    branches = "".join(f"def {name}(a):\n    if a:\n        a = 2\n    return a\n" for name in ("one", "two"))
    (tmp_path / "small" / "__init__.py").write_text(branches, encoding="utf-8")
    tests = "".join(f"def test_{name}(): assert small.{name}(1) and not small.{name}(0)\n" for name in called)
    (tmp_path / "test_small.py").write_text(f"import small\n{tests}", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "covered", "-p", "no:cacheprovider"]
    # The plugin of this run, if it is covered itself, has named a directory of its own there.
    environment = {name: value for name, value in os.environ.items() if name != "STARLEDGER_COVERED"}
    ended = subprocess.run(  # noqa: S603 - ours
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == status, ended.stdout
    assert ("covered of small: 100.0 per cent" in ended.stdout) is (status == 0)


@pytest.mark.criterion("Q3")
def test_the_workflow_calls_the_same_targets_on_every_python_that_is_supported() -> None:
    called = re.findall(r"^ +- run: (.+)$", WORKFLOW, re.MULTILINE)
    local = re.findall(r"^make \w+$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert called == local == ["make check", "make test"]
    versions = re.search(r"^ +python: \[(.+)\]$", WORKFLOW, re.MULTILINE)
    assert versions is not None
    tested = [version.strip(' "') for version in versions[1].split(",")]
    assert f">={tested[0]}" == PYPROJECT["project"]["requires-python"]
    classified = [each.rpartition(" :: ")[2] for each in PYPROJECT["project"]["classifiers"] if "Python :: 3." in each]
    assert tested == classified


@pytest.mark.criterion("Q4")
def test_code_has_no_todo_and_no_placeholder() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in OURS
        for match in UNFINISHED.finditer(file.read_text(encoding="utf-8"))
        # The text that stands in an empty field of a form is called so by HTML.
        if not (file.is_relative_to(ROOT / "sandbox") and match[0] == "placeholder")
    ]
    assert found == []


@pytest.mark.criterion("Q4")
def test_no_secret_is_in_the_code() -> None:
    assert SECRET.search("12345678:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw-"), "what it looks for is what it finds"
    texts = [*OURS, ROOT / ".env.example", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").iterdir()]
    assert [str(file) for file in texts if SECRET.search(file.read_text(encoding="utf-8"))] == []


@pytest.mark.criterion("Q4")
def test_types_and_docstrings_are_asked_for_throughout() -> None:
    """`make check` asks for them: mypy of every definition, ruff's rules D and ANN of every public one."""
    assert PYPROJECT["tool"]["mypy"]["strict"] is True
    assert set(PACKAGES) <= set(PYPROJECT["tool"]["mypy"]["packages"])
    lint = PYPROJECT["tool"]["ruff"]["lint"]
    assert lint["select"] == ["ALL"]
    switched_off = {rule for rules in (lint["ignore"], *lint["per-file-ignores"].values()) for rule in rules}
    of_code = {rule for paths, rules in lint["per-file-ignores"].items() if "tests" not in paths for rule in rules}
    missing = re.compile(r"D10[0-46]|ANN[012]")
    assert not [rule for rule in {*lint["ignore"], *of_code} if missing.fullmatch(rule)]
    assert not {"D", "ANN", "FIX", "S", "S105", "S106"} & (switched_off - {"S105", "S106"} | set(lint["ignore"]))
    recipe = _recipe("check")
    assert "ruff check ." in recipe
    assert "mypy" in recipe


def patched_constants(source: str) -> list[str]:
    """Return the constants of the desk's modules that a test's source sets, by their dotted names."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {each.asname or each.name: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}

    def named(node: ast.expr) -> str:
        return str(node.value) if isinstance(node, ast.Constant) else modules.get(ast.unparse(node), "")

    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "setattr":
            names.append(".".join(named(each) for each in node.args[: 2 if len(node.args) > 2 else 1]))
        elif isinstance(node, ast.Assign):
            targets = [each for each in node.targets if isinstance(each, ast.Attribute)]
            names += [f"{named(each.value)}.{each.attr}" for each in targets]
    parts = [name.rpartition(".") for name in names]
    return [f"{module}.{name}" for module, _, name in parts if module in MODULES and CONSTANT.fullmatch(name)]


def test_no_test_sets_a_constant_of_ours_by_its_name() -> None:
    """Time-outs are handed in (db/timings.py) and bounds are arguments: a name that moves would not fail its test."""
    for line in (
        'import bot.poll.polling\nmonkeypatch.setattr(bot.poll.polling, "_FACTOR", 2)',
        'from payments import loop\npatch.setattr(loop, "COOLDOWNS_MAX", 1)',
        'monkeypatch.setattr("payments.loop.COOLDOWNS_MAX", 1)',
        "import db.engine as engine\nengine.POOL_SIZE = 1",
    ):
        assert len(patched_constants(line)) == 1, "what it looks for is what it finds"
    found = {file.relative_to(ROOT): patched_constants(file.read_text("utf-8")) for file in TESTS}
    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Who has something for ever is not sold it again.", True),
        ("Gives back a charge. What is left stays.", True),
        ("| setting | Whether it is on |", True),
        ("## What a ledger cannot know", True),
        ("Lifetime owners cannot buy it again, whatever they have.", False),
        ("The desk says who asked, and what was left: which one counts is in the row.", False),
        ("WHATEVER and Whatsoever are no such words", False),
    ],
)
def test_a_sentence_without_a_subject_in_front_is_found(text: str, found: bool) -> None:  # noqa: FBT001 - a table
    assert bool(without_subject(text)) is found


def test_no_sentence_begins_with_who_what_whether_or_which() -> None:
    """The first rule of docs/code.md, "How we write": the subject comes first."""
    # The rule reaches what an operator reads in print, and not the texts of the chats, which documents quote: those
    # speak to a buyer, who asks in such words.
    chat = (ROOT / "bot" / "locales" / "en" / "LC_MESSAGES" / "starledger.po").read_text(encoding="utf-8")
    files = [ROOT / name for folder in (*PACKAGES, "bench", "tests") for name in (ROOT / folder).rglob("*.py")]
    files += [ROOT / "hatch_build.py", *(file for pattern in DOCUMENTS for file in ROOT.glob(pattern))]
    found = [
        f"{file.relative_to(ROOT)}: {beginning}"
        for file in files
        for text in prose_of(file)
        for beginning in without_subject(text)
        if beginning.strip("| ").partition(" | ")[0] not in chat
    ]
    assert found == []


def test_no_docstring_of_the_code_begins_with_how_or_why() -> None:
    begin = re.compile(r'^ *"""(?:How|Why)\b.*', re.MULTILINE)
    found = {file.relative_to(ROOT): begin.findall(file.read_text(encoding="utf-8")) for file in OURS}
    assert {file: lines for file, lines in found.items() if lines} == {}
