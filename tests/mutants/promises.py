"""Lies about what README and CHANGELOG promise, chosen by hand, and the test of a few lines that notices each.

Each of them once got past all tests.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised, and a change of the source that breaks it."""

    name: str
    module: str
    before: str
    after: str
    test: str
    """Below tests/unit."""


PROMISES = (
    Promise(
        "SlowDown lowers how many uploads run at a time",
        "uploader", "if error.asks_for_less:", "if False:",
        "test_uploader.py::test_slow_down_lowers_how_many_run_at_a_time",
    ),
    Promise(
        "SlowDown halves it",
        "retry", "self.now = max(1.0, self.now / 2.0)", "pass",
        "test_retry_and_lifecycle.py::test_concurrency_is_halved_once_for_a_burst_and_won_back_one_by_one",
    ),
    Promise(
        "the breaker never stays half-open",
        "retry", "self.circuit = Circuit.OPEN  # whose wait is over", "pass",
        "test_retry_and_lifecycle.py::test_a_probe_that_says_nothing_is_not_the_last_one",
    ),
    Promise(
        "entries older than seven days are kept while Frigate has them",
        "scan", "AND NOT EXISTS (SELECT 1 FROM frigate.event e WHERE e.id = o.event_id)", "",
        "test_ledger.py::test_an_old_entry_is_kept_while_frigate_has_its_event",
    ),
    Promise(
        "entries are kept for seven days in any case",
        "scan_loop", "FORGET_AFTER = 7 * 86400.0", "FORGET_AFTER = 86400.0",
        "test_ledger.py::test_an_old_entry_is_kept_while_frigate_has_its_event",
    ),
    Promise(
        "a full spool gives up the newest",
        "spool", "key=_age_key, reverse=True)", "key=_age_key)",
        "test_spool.py::test_the_newest_go_and_the_oldest_stay",
    ),
    Promise(
        "what S3 acknowledged is on disk before anyone hears of it",
        "ledger_file", "{'FULL' if durable else 'NORMAL'}", "{'NORMAL'}",
        "test_ledger.py::test_what_s3_acknowledged_is_on_disk_before_anyone_hears_of_it",
    ),
    Promise(
        "a settled upload is written durably",
        "ledger", "durable=any(o.state is not State.PENDING for o in outcomes)", "durable=False",
        "test_ledger.py::test_what_s3_acknowledged_is_on_disk_before_anyone_hears_of_it",
    ),
    Promise(
        "state files are on disk before they take their name",
        "runtime.atomic_write", "os.fsync(file.fileno())", "pass",
        "test_atomic_write.py::test_content_and_folder_are_synced_in_this_order",
    ),
    Promise(
        "and so is their name",
        "runtime.atomic_write", "        sync_folder(path.parent)\n", "",
        "test_atomic_write.py::test_content_and_folder_are_synced_in_this_order",
    ),
    Promise(
        "a folder is synced",
        "runtime.atomic_write", "            os.fsync(descriptor)\n", "            pass\n",
        "test_atomic_write.py::test_content_and_folder_are_synced_in_this_order",
    ),
    Promise(
        "state files are replaced, not written over",
        "state_files", "with atomic_write(path) as file:", 'with path.open("wb") as file:',
        "test_state_files.py::test_every_state_file_is_synced_with_its_folder",
    ),
    Promise(
        "a copy in the spool is on disk",
        "spool", "with atomic_write(target) as file:", 'with target.open("wb") as file:',
        "test_spool.py::test_what_is_kept_is_on_disk",
    ),
    Promise(
        "a link in the spool is on disk",
        "spool", "                sync_folder(self.folder)\n", "                pass\n",
        "test_spool.py::test_what_is_kept_is_on_disk",
    ),
    Promise(
        "queries are signed sorted",
        "storage.signature", "in sorted((_quoted(n), _quoted(v)) for n, v in parameters))", "in ((_quoted(n), _quoted(v)) for n, v in parameters))",
        "test_signature.py::test_the_test_suite",
    ),
    Promise(
        "signed headers are sorted",
        "storage.signature", 'dict(sorted((name, " ".join(value.split())) for name, value in given.items()))', 'dict((name, " ".join(value.split())) for name, value in given.items())',
        "test_signature.py::test_s3s_own_examples",
    ),
)  # fmt: skip
