"""An empty ledger for what reads and writes one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An open ledger in a folder of its own."""
    opened = Ledger(tmp_path / FILE_NAME)
    opened.open()
    yield opened
    opened.close()
