"""Does the simulator find faults? Plants known ones, one at a time, and tells after how many seeds each was found.

`make simulate-proof`. B, O and R are numbers of faults that the mirror once had; P are of our own.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

from frigate_s3_mirror import bodies, discovery, folders, ledger, ledger_home, s3_errors, scan_loop, sending
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.folders import Doubt, Evidence
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LedgerFile
from frigate_s3_mirror.lifecycle import State, Step
from frigate_s3_mirror.retry import Breaker, ErrorClass
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.scan import FrigateScan
from frigate_s3_mirror.scan_loop import ScanLoop
from frigate_s3_mirror.spool import Spool
from frigate_s3_mirror.storage import putting
from frigate_s3_mirror.storage.proof import Proof
from frigate_s3_mirror.upload.blame import Culprit, Refusals
from frigate_s3_mirror.uploader import Uploader
from simulation.run import plan, quiet, simulate

Plant = Callable[[], AbstractContextManager[Any]]
SEEDS = 120
HOURS = 24.0
put = mock.patch.object


def _late_row_keeps_no_key() -> AbstractContextManager[Any]:
    """B1: a snapshot whose row was seen before its file has no key, and gets none."""
    worse = ledger._RECORD.replace("key = excluded.key", "key = object.key")
    assert worse != ledger._RECORD
    return put(ledger, "_RECORD", worse)


def _unproved_answer_is_believed() -> AbstractContextManager[Any]:
    """B2: any 2xx counts."""

    def require(self: Any, answer: Any, upload: Any = None) -> None:
        if not 200 <= answer.status < 300:
            really(self, answer, upload)

    really = putting.Putting._require_success
    stack = contextlib.ExitStack()
    stack.enter_context(put(putting.Putting, "_require_success", require))
    stack.enter_context(put(Proof, "_look_up", lambda *_: None))
    return stack


def _only_the_first_page_of_absent() -> AbstractContextManager[Any]:
    """B4."""
    really = Ledger.entries_in
    return put(
        Ledger, "entries_in", lambda self, state, after, limit: [] if after else really(self, state, None, limit)
    )


def _a_folder_that_is_not_empty_is_trusted() -> AbstractContextManager[Any]:
    """B6."""

    def doubt(evidence: Evidence) -> Doubt | None:
        return Doubt.EMPTY if evidence.is_empty else None

    return put(folders, "doubt", doubt)


def _a_worker_dies_with_its_claim() -> AbstractContextManager[Any]:
    """B7: an error in judging an error ends the thread, and nobody takes up what it had."""

    def failed(self: Uploader, entry: Entry, error: BaseException) -> Outcome:
        if isinstance(error, StoreError) and error.asks_for_less:
            raise ValueError("a header that nobody thought of")
        return really(self, entry, error)

    really = Uploader._failed
    stack = contextlib.ExitStack()
    stack.enter_context(put(Uploader, "_failed", failed))
    stack.enter_context(put(Uploader, "_give_back", lambda *_: None))
    return stack


def _the_destination_is_no_part_of_uploaded() -> AbstractContextManager[Any]:
    """B12."""
    return put(ledger_home, "settle_in", lambda *_: (None, None))


def _a_growing_file_is_sent() -> AbstractContextManager[Any]:
    """B13."""
    return put(bodies.BodyReader, "_refuse_unfinished", lambda *_: None)


def _409_means_there_already() -> AbstractContextManager[Any]:
    """O1."""

    def refusal(status: int, *arguments: Any, **named: Any) -> StoreError:
        error = really(status, *arguments, **named)
        if status == 409:
            error.status = 412
        return error

    really = s3_errors.refusal
    return put(putting, "refusal", refusal)


def _a_refusal_of_all_counts_against_each() -> AbstractContextManager[Any]:
    """R31."""

    def refused(_self: Refusals, _who: object, refusal: Any, _now: float, *, in_flight: int) -> Culprit:
        del in_flight
        return Culprit.OBJECT if refusal.status == 400 or refusal.error_class is ErrorClass.OBJECT else Culprit.BUCKET

    def not_taken(self: Uploader, entry: Entry, error: StoreError) -> Outcome:
        if error.status == 400:
            error.error_class = ErrorClass.OBJECT
        return really(self, entry, error)

    really = Uploader._not_taken
    stack = contextlib.ExitStack()
    stack.enter_context(put(Refusals, "refused", refused))
    stack.enter_context(put(Uploader, "_not_taken", not_taken))
    return stack


def _uploads_are_not_settled_durably() -> AbstractContextManager[Any]:
    """P1: a power cut takes back what people were told."""
    really = LedgerFile._transaction

    @contextlib.contextmanager
    def transaction(self: LedgerFile, *, durable: bool) -> Iterator[Any]:
        del durable
        with really(self, durable=False) as connection:
            yield connection

    return put(LedgerFile, "_transaction", transaction)


def _settled_before_it_is_sent() -> AbstractContextManager[Any]:
    """P2: what was broken off counts as done."""
    really = Uploader._failed

    def failed(self: Uploader, entry: Entry, error: BaseException) -> Outcome:
        outcome = really(self, entry, error)
        is_odd = isinstance(error, StoreError) and error.failure is not None
        return replace(outcome, state=State.UPLOADED) if is_odd else outcome

    return put(Uploader, "_failed", failed)


def _the_scan_looks_at_what_is_recent_alone() -> AbstractContextManager[Any]:
    """P3: a full scan ends after its first page."""
    really = FrigateScan.page
    return put(FrigateScan, "page", lambda self, before: (really(self, before)[0], None))


def _the_breaker_stays_half_open() -> AbstractContextManager[Any]:
    """P4: a probe that says nothing is the last one."""
    return put(Breaker, "untold", lambda _self: None)


def _a_changed_picture_is_not_sent_again() -> AbstractContextManager[Any]:
    """P5."""
    return put(discovery, "change_of", lambda *_: None)


def _what_cannot_be_read_counts_as_gone() -> AbstractContextManager[Any]:
    """P6: EIO and EMFILE are taken for a deleted file."""

    def unreadable(self: Uploader, entry: Entry, _error: object) -> Outcome:
        return Outcome(entry, State.EXPIRED, entry.attempts, entry.deferrals, 0.0, "gone")

    return put(Uploader, "_unreadable", unreadable)


def _the_spool_keeps_nothing() -> AbstractContextManager[Any]:
    """P7: it says that it keeps a file, and the file is not there when it is needed."""
    really = Spool._keep

    def keep(self: Spool, source: str) -> bool:
        kept = really(self, source)
        for path in self.folder.iterdir():
            path.unlink()
        return kept

    return put(Spool, "_keep", keep)


def _all_is_sent_again_after_a_restart() -> AbstractContextManager[Any]:
    """P8: opening the ledger makes uploads pending."""
    really = Ledger.open

    def opened(self: Ledger, **named: Any) -> None:
        really(self, **named)
        self.connection.execute("UPDATE object SET state = 'pending' WHERE state = 'uploaded' AND key IS NOT NULL")

    stack = contextlib.ExitStack()
    stack.enter_context(put(Ledger, "open", opened))
    stack.enter_context(put(sending, "_may_create", lambda _settings: False))
    return stack


def _what_came_back_is_not_looked_for() -> AbstractContextManager[Any]:
    """P9: absent is for ever."""

    async def nothing(*_: object) -> None:
        return

    return put(ScanLoop, "_search_on", nothing)


def _an_awaited_file_is_given_up_at_once() -> AbstractContextManager[Any]:
    """P10: the first look in vain makes it absent for good, though the share is away."""
    stack = contextlib.ExitStack()
    stack.enter_context(put(discovery, "after_search", lambda _at, tries, now: Step(State.ABSENT, 0, tries, now)))
    stack.enter_context(put(folders.DiskFolder, "absence", lambda _self: None))
    stack.enter_context(put(scan_loop, "GIVEN_UP", (State.EXPIRED,)))
    return stack


PLANTS: tuple[tuple[str, Plant], ...] = (
    ("B1", _late_row_keeps_no_key), ("B2", _unproved_answer_is_believed), ("B4", _only_the_first_page_of_absent),
    ("B6", _a_folder_that_is_not_empty_is_trusted), ("B7", _a_worker_dies_with_its_claim),
    ("B12", _the_destination_is_no_part_of_uploaded), ("B13", _a_growing_file_is_sent), ("O1", _409_means_there_already),
    ("R31", _a_refusal_of_all_counts_against_each), ("P1", _uploads_are_not_settled_durably),
    ("P2", _settled_before_it_is_sent), ("P3", _the_scan_looks_at_what_is_recent_alone),
    ("P4", _the_breaker_stays_half_open), ("P5", _a_changed_picture_is_not_sent_again),
    ("P6", _what_cannot_be_read_counts_as_gone), ("P7", _the_spool_keeps_nothing),
    ("P8", _all_is_sent_again_after_a_restart), ("P9", _what_came_back_is_not_looked_for),
    ("P10", _an_awaited_file_is_given_up_at_once),
)  # fmt: skip


def find(plant: Plant, seeds: Sequence[int], hours: float = HOURS) -> tuple[int, str] | None:
    """Return after how many seeds the planted fault is found, and as what; None when it is not."""
    for count, seed in enumerate(seeds, 1):
        with plant():
            result = simulate(seed, plan(seed, hours))
        if result.violations:
            return count, result.violations[0]
    return None


def main() -> int:
    """Plant each; returns 1 when fewer than 15 of 19 are found."""
    quiet()
    wanted = set(sys.argv[1:])
    plants = [(name, plant) for name, plant in PLANTS if not wanted or name in wanted]
    found = 0
    for name, plant in plants:
        began = time.monotonic()
        told = find(plant, range(1, SEEDS + 1))
        found += told is not None
        what = f"after {told[0]:3} seeds: {told[1][:90]}" if told else f"not in {SEEDS} seeds"
        print(
            f"{name:4} {plant.__name__.strip('_').replace('_', ' '):45} {what} ({time.monotonic() - began:.0f} s)",
            flush=True,
        )
    print(f"{found} of {len(plants)} planted faults were found")
    return 0 if found >= len(plants) * 15 / 19 else 1


if __name__ == "__main__":
    sys.exit(main())
