"""Documents against the code: a name that the code lacks fails here, and so does a gap in docs/operating.md."""

import re
from pathlib import Path
from typing import Final

import pytest
from typer.main import get_group

from bot.__main__ import app
from bot.console.report import CSV_FIELDS
from bot.settings import Settings

ROOT: Final = Path(__file__).parents[1]
OPERATING: Final = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
DOCUMENTS: Final = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))]
FOLDERS: Final = ("bot", "payments", "entitlements", "db", "sandbox", "deploy", "bench", "tests", "docs")
COMMANDS: Final = get_group(app).commands
SECTIONS: Final = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", OPERATING, re.MULTILINE))


def _first_cells(section: str) -> str:
    """Return the first column of a section's tables."""
    return "\n".join(re.findall(r"^\| (.*?) \|", SECTIONS[section], re.MULTILINE))


def test_every_command_is_told_of_and_no_other() -> None:
    there_is = set(COMMANDS)
    assert set(re.findall(r"`starledger (\w+)", _first_cells("Commands"))) == there_is
    everywhere = re.findall(r"(?:^|`|\s)starledger (?!COMMAND)([a-z]+)(?= |`|$)", OPERATING, re.MULTILINE)
    assert set(everywhere) - there_is - {"user"} == set()


def test_every_option_that_is_told_of_exists() -> None:
    for command, rest in re.findall(r"starledger ([a-z]+)([^`\n]*)", OPERATING):
        options = {name for parameter in getattr(COMMANDS.get(command), "params", ()) for name in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest.partition("#")[0])) <= options, command


def test_every_setting_is_told_of_and_no_other() -> None:
    there_is = {name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"`([A-Z_]+)`", _first_cells("Settings"))) == there_is


def test_every_column_of_a_report_is_told_of_and_no_other() -> None:
    assert sorted(re.findall(r"`(\w+)`", _first_cells("Reports"))) == sorted(CSV_FIELDS)


async def test_every_metric_is_told_of_and_no_other(exported: dict[str, set[str]]) -> None:
    there_is = {re.sub("_(bucket|sum|count)$", "", name) for name in exported}
    assert set(re.findall(r"`(starledger_\w+)`", _first_cells("Health and metrics"))) == there_is


def test_every_message_to_the_admins_is_told_of_and_no_other() -> None:
    words = (ROOT / "bot" / "locales" / "en" / "LC_MESSAGES" / "starledger.po").read_text(encoding="utf-8")
    head = r'^msgid "notice\.[\w.]+"\nmsgstr ""\n"[\u26a0\u2139]\ufe0f <b>([^{]*?)[:.]?</b>'
    heads = set(re.findall(head, words, re.MULTILINE))
    told = _first_cells("Messages to the admins, and what to do").partition("\n")[2]
    for each in sorted(heads, key=len, reverse=True):
        assert each in told, each
        told = told.replace(each, "")
    assert re.sub(r"[-, \n]", "", told) == ""


def test_every_alert_is_told_of_with_what_to_do() -> None:
    rules = (ROOT / "deploy" / "prometheus-rules.yml").read_text(encoding="utf-8")
    there_is = set(re.findall(r"alert: (\w+)", rules))
    assert set(re.findall(r"`(Starledger\w+)`", _first_cells("Alerts, and what to do"))) == there_is


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_of_a_document_lead_to_files(document: str) -> None:
    file = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text(encoding="utf-8")):
        assert (file.parent / target).exists(), target


def test_decisions_are_numbered_one_by_one() -> None:
    files = sorted(ROOT.glob("docs/decisions/*.md"))
    numbers = [f"{number:04}" for number in range(1, len(files) + 1)]
    assert [file.name[:4] for file in files] == numbers
    assert [file.read_text(encoding="utf-8")[2:6] for file in files] == numbers


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_is_there(document: str) -> None:
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", (ROOT / document).read_text(encoding="utf-8"))
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_every_test_that_a_promise_names_is_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    promises = re.findall(r"^\| (\d+) \| \*\*.*\| (.*) \|$", readme, re.MULTILINE)
    assert [int(number) for number, _ in promises] == list(range(1, 11))
    for number, tests in promises:
        named = re.findall(r"`([\w./]+)`", tests)
        assert named, number
        folder = ROOT
        for each in named:
            # A name alone stands in the folder of the one before it.
            path = (ROOT if each.startswith("tests/") else folder) / each
            assert path.exists(), f"{number}: {each}"
            folder = path.parent


def test_every_target_of_make_that_is_told_of_exists() -> None:
    there_is = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        told = set(re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE))
        assert told <= there_is, document


def test_the_tests_readme_names_each_helper() -> None:
    readme = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    modules = {path.stem for path in (ROOT / "tests" / "support").glob("*.py")} - {"__init__"}
    assert not {module for module in modules if not re.search(rf"`(?:\w+/)*{module}\b", readme)}
