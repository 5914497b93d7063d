"""What the tests of the patch share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from patch.workbench import Bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    """A bundle that leaves no process behind."""
    bundle = Bundle(tmp_path)
    yield bundle
    bundle.clean_up()
