"""The lies of `make mutants`: each changes one place, what is listed as equivalent is one of them, and promises are where they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutants.equivalent import EQUIVALENT
from mutants.modules import NOTICED_BY
from mutants.mutations import mutations
from mutants.promises import PROMISES

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "frigate_s3_mirror"
SOURCE = b'''"""A docstring: 1."""
LONGEST: int = 5
class Colour: RED = "red"
def f(a, b=True):
    """Not 2."""
    if a < LONGEST and not b:
        logger().info("not 3")
        a.c = "a sentence is not changed"
        return min(a, b) + 1
    raise ValueError("SELECT x FROM y WHERE a = 1 AND b")
'''
CHANGES = {
    "module: 5 -> 6", 'Colour: "red" -> "XXred"', "f: True -> False", "f: < -> <=", "f: and -> or", "f: not b -> b", "f: min -> max", "f: + -> -",
    "f: 1 -> 2", "f: return min(a, b) + 1 -> return None", "f: AND -> OR", 'f: a.c = "a sentence is not changed" -> pass',
    'f: raise ValueError("SELECT x FROM y WHERE a = 1 AND b") -> pass',
}  # fmt: skip


def source_of(module: str) -> bytes:
    return (PACKAGE / f"{module.replace('.', '/')}.py").read_bytes()


def test_each_lie_changes_one_place() -> None:
    """Named by what changes, with the line it is in and those of its statement."""
    found = {mutation.name.removeprefix("m: "): mutation for mutation in mutations("m", SOURCE)}
    assert set(found) == CHANGES
    assert all(mutation.source != SOURCE for mutation in found.values())
    assert (found["f: < -> <="].line, found["f: < -> <="].statement) == (6, range(6, 7))
    assert found["f: AND -> OR"].source == SOURCE.replace(b"AND b", b"OR b")


@pytest.mark.parametrize("module", NOTICED_BY)
def test_what_is_equivalent_is_there(module: str) -> None:
    """Names are unique, and none of them is of a line that is gone."""
    names = [mutation.name for mutation in mutations(module, source_of(module))]
    assert len(set(names)) == len(names) > 5
    assert {name for name in EQUIVALENT if name.startswith(f"{module}: ")} <= set(names)
    assert all((ROOT / "tests" / "unit" / f"test_{name}.py").is_file() for name in NOTICED_BY[module])


def test_promises_are_where_they_say() -> None:
    """Once each in its module; else `make mutants` would plant nothing."""
    assert {name.partition(":")[0] for name in EQUIVALENT} <= set(NOTICED_BY)
    for promise in PROMISES:
        assert source_of(promise.module).decode().count(promise.before) == 1, promise.name
        path, _, test = promise.test.partition("::")
        assert f"def {test}(" in (ROOT / "tests" / "unit" / path).read_text(), promise.test
