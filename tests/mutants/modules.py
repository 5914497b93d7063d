"""The modules that decide, and the unit tests that should notice when one of them lies."""

from __future__ import annotations

NOTICED_BY: dict[str, tuple[str, ...]] = {
    "lifecycle": ("retry_and_lifecycle",),
    "retry": ("retry_and_lifecycle",),
    "keys": ("keys", "object_metadata", "clips", "settings"),
    "s3_errors": ("s3_errors", "no_answer", "answers", "house"),
    "upload.blame": ("blame",),
    "upload.wholeness": ("wholeness",),
    "spool": ("spool",),
    "ledger": ("ledger_questions", "ledger", "destination", "ledger_schema", "sent_files", "second_look", "waiting"),
    "ledger_schema": ("ledger_schema", "destination"),
    "ledger_home": ("ledger_home", "destination"),
    "folders": ("folders", "expected_files"),
    "health": ("lived_health",),
    "unmoved": ("lived_health",),
    "storage.proof": ("proof", "answers"),
    "storage.retry_after": ("retry_after",),
    "storage.signature": ("signature",),
    "events": ("events", "odd_rows", "filter_check"),
    "runtime.untrusted": ("untrusted",),
    "api_login": ("api_login",),
    "web.access": ("access",),
}
"""Below `frigate_s3_mirror`; each test file is `tests/unit/test_*.py`."""
