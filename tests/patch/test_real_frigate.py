"""The patch against a real Frigate tree that the user has: FRIGATE_SOURCE=/some/checkout, and with FRIGATE_PYTHON one that
has Frigate's packages."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from patch.workbench import Bundle, wait_until

pytestmark = pytest.mark.skipif(
    not os.environ.get("FRIGATE_SOURCE"), reason="FRIGATE_SOURCE names no checkout of Frigate"
)
SOURCE = Path(os.environ.get("FRIGATE_SOURCE", "/"))


def test_the_methods_that_are_wrapped_are_there() -> None:
    """FrigateApp has both, takes no argument of its own in them, and starts the event processor by itself."""
    tree = ast.parse((SOURCE / "frigate/app.py").read_text(encoding="utf-8"))
    (app,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "FrigateApp"]
    methods = {node.name: node for node in app.body if isinstance(node, ast.FunctionDef)}
    assert [argument.arg for argument in methods["start_event_processor"].args.args] == ["self"]
    assert [argument.arg for argument in methods["stop"].args.args] == ["self"]
    assert "self.start_event_processor()" in ast.unparse(methods["start"])


def test_the_paths_that_are_handed_on_are_there() -> None:
    """The clips folder is a constant, and the database's path is in the configuration."""
    assert "CLIPS_DIR = " in (SOURCE / "frigate/const.py").read_text(encoding="utf-8")
    assert "self.config.database.path" in (SOURCE / "frigate/app.py").read_text(encoding="utf-8")


def test_the_mirror_lives_and_ends_with_the_real_frigate(bundle: Bundle) -> None:
    """The service starts when the event processor does, and leaves no orphan after a SIGTERM."""
    bundle.frigate = SOURCE
    bundle.write_init(os.environ.get("FRIGATE_PYTHON", sys.executable))
    bundle.environment = {**os.environ, **bundle.environment}
    running = bundle.start()
    wait_until(lambda: bundle.births() or running.process.poll() is not None, "the service's start", patience=120)
    if not bundle.births():
        running.ended()
        pytest.skip(f"this Frigate does not start here: {running.lines[-1]}")
    running.process.terminate()
    running.process.wait(120)
    bundle.no_orphan()
