"""The whole of it: the patch in the stand-in Frigate, the real service as its child, and a real S3 server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.status import is_running
from patch.workbench import REPOSITORY, Bundle, wait_until
from servers import Target


@pytest.mark.parametrize("way", ["PYTHONPATH alone", "entrypoint"])
@pytest.mark.parametrize("variants", [("fork", "exit-in-stop"), ("forkserver",)], ids=["as-0.16", "as-0.17"])
def test_events_are_mirrored_until_frigate_ends(
    bundle: Bundle, rclone: Target, tmp_path: Path, way: str, variants: tuple[str, ...]
) -> None:
    """The package is in the interpreter that runs Frigate; the service uploads, and is gone when Frigate is."""
    with SimulatedFrigate(tmp_path / "simulated", version="0.17") as frigate:
        before = frigate.end_event(frigate.begin_event())
        settings = {
            **rclone.environment(), "S3_PATH_PREFIX": "frigate", "S3_SCAN_INTERVAL": "300ms",
            "FRIGATE_DB_PATH": str(frigate.db_path), "FRIGATE_CLIPS_DIR": str(frigate.clips_dir),
        }  # fmt: skip
        bundle.environment = {**os.environ, **bundle.environment, **settings}
        if way == "entrypoint":
            bundle.lib.rename(bundle.folder / "stand-in-lib")
            running = bundle.start(*variants)
        else:
            running = bundle.start(*variants, patched=False, PYTHONPATH=str(REPOSITORY / "patch"))
        running.see("S3 snapshot mirror is ready")
        after = frigate.end_event(frigate.begin_event())
        wanted = {expected_key(event, "frigate") for event in (before, after)}
        wait_until(lambda: set(rclone.objects()) == wanted, f"two objects; the log:\n{running.output}")
        running.end()
        state = frigate.db_path.parent / ".s3-mirror"
        wait_until(lambda: not is_running(state), "the end of the service")
        ledger = Ledger(state / FILE_NAME)
        ledger.open(read_only=True)
        assert ledger.facts()["stopped_at"] is not None  # it ended in order
        ledger.close()
        assert "Traceback" not in running.output
