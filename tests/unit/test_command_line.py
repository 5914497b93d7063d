"""The command line's help, as people read it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from frigate_s3_mirror.cli import app

COMMANDS = (
    "run",
    "status",
    "doctor",
    "config",
    "verify",
    "restore",
    "rebuild",
    "fleet",
    "lifecycle",
    "iam-policy",
    "retry-failed",
)


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_a_flag_has_no_type_behind_it(command: tuple[str, ...]) -> None:
    """A flag takes no value; options that take one still say so."""
    text = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "100"}).output
    assert "--help" in text
    assert "bool" not in text.lower()
    assert ("<str>" in text or "TEXT" in text) == (command in {("verify",), ("restore",)})


def test_run_comes_first() -> None:
    """In the order in which they are needed."""
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"}).output
    places = [text.index(f"\u2502 {name} ") for name in COMMANDS]
    assert places == sorted(places)
