"""Coverage with a tracer for each greenlet takes the lines of none for the next lines of another."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

SWITCHING: Final = """
import greenlet

def work(number):
    here = number
    parent.switch(here)
    here += 1
    if here % 2:
        parent.switch(here)
    here += 1
    return here

parent = greenlet.getcurrent()
both = [greenlet.greenlet(work), greenlet.greenlet(work)]
seen = [each.switch(number) for number, each in enumerate(both)]
while alive := [each for each in both if not each.dead]:
    for each in alive:
        seen.append(each.switch())
third = greenlet.greenlet(work)
third.switch(4)
"""

MEASURE: Final = """
import json
import sys
from coverage import Coverage
from tests.support.tracing import follow_greenlets

only = ["*/switching.py"]
coverage = Coverage(data_file=None, config_file=False, branch=True, include=only, concurrency=["thread"])
coverage.start()
if "follow" in sys.argv:
    follow_greenlets()
import switching
coverage.stop()
print(json.dumps(coverage.get_data().arcs(switching.__file__)))
"""


def _arcs(directory: Path, *arguments: str) -> set[tuple[int, int]]:
    """Return the arcs that coverage sees of SWITCHING in a process of its own, which nothing else traces."""
    (directory / "switching.py").write_text(SWITCHING, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = os.pathsep.join([str(directory), str(Path(__file__).parents[1])])
    command = [sys.executable, "-c", MEASURE, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: S603 - this Python
    return {(before, after) for before, after in json.loads(run.stdout)}


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="coverage traces by sys.monitoring there")
def test_each_greenlet_keeps_its_own_line_between_switches(tmp_path: Path) -> None:
    body = range(5, 12)
    own = {(-4, 5), (5, 6), (6, 7), (7, 8), (8, 9), (8, 10), (9, 10), (10, 11), (11, -4)}

    def of_body(arcs: set[tuple[int, int]]) -> set[tuple[int, int]]:
        return {(before, after) for before, after in arcs if before in body or after in body}

    assert of_body(_arcs(tmp_path, "follow")) == own
    assert of_body(_arcs(tmp_path)) != own
