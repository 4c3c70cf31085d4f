"""The lists of mutations fit the code: a list that has rotted would break nothing and prove nothing."""

import ast
from pathlib import Path
from typing import Final

import pytest

from tests.mutants.mutation import Mutation, read_mutations

ROOT: Final = Path(__file__).parents[2]
MUTATIONS: Final = list(read_mutations())
COUNT_MIN: Final = 60


def test_the_lists_break_enough_rules() -> None:
    assert len(MUTATIONS) >= COUNT_MIN
    assert len({(each.file, each.replace, each.by) for each in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.rule)
def test_a_mutation_still_fits_its_file_and_its_tests(mutation: Mutation) -> None:
    source = (ROOT / mutation.file).read_text(encoding="utf-8")
    broken = mutation.applied_to(source)
    compile(broken, mutation.file, "exec", dont_inherit=True)
    assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(source))
    for test in mutation.tests:
        file, _, name = test.partition("::")
        functions = {
            node.name
            for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
        }
        assert not name or name.partition("[")[0] in functions, f"{file} has no test {name}"
