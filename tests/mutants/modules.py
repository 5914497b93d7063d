"""The modules that decide, and the unit tests that should notice when one of them lies."""

from __future__ import annotations

NOTICED_BY: dict[str, tuple[str, ...]] = {
    "lifecycle": ("retry_and_lifecycle",),
    "retry": ("retry_and_lifecycle",),
    "keys": ("keys", "object_metadata"),
    "s3_errors": ("s3_errors", "house"),
    "upload.blame": ("blame",),
    "upload.wholeness": ("wholeness",),
    "spool": ("spool",),
    "ledger": ("ledger_questions", "ledger"),
    "ledger_schema": ("ledger_schema",),
    "ledger_home": ("ledger_home",),
    "folders": ("folders",),
    "health": ("lived_health",),
    "unmoved": ("lived_health",),
    "storage.proof": ("proof",),
    "storage.retry_after": ("retry_after",),
    "storage.signature": ("signature",),
    "events": ("frigate_database", "events"),
    "runtime.untrusted": ("untrusted",),
    "api_login": ("api_login",),
    "web.access": ("access",),
}
"""Below `frigate_s3_mirror`; each test file is `tests/unit/test_*.py`."""
