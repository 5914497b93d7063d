"""Keeps the two text state files in step with the ledger, and imports them when the ledger is missing."""

from __future__ import annotations

from collections.abc import Sequence

from frigate_s3_mirror.destination import home_of
from frigate_s3_mirror.entries import Outcome
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime.problem_log import ProblemLog
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.state_files import About, StateFiles

_MOST_PROBLEMS = 100_000


class Exports:
    """Connects one ledger with the files; runs in the ledger's thread."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._folder = settings.text_state_dir
        self._ledger = ledger
        self._files = StateFiles(self._folder)
        # The kind that stands for its event in the list of uploaded ones.
        self._primary = Kind.SNAPSHOT if Kind.SNAPSHOT in settings.artifacts else settings.artifacts[0]
        home = home_of(settings)
        self._about = About(home.destination, self._primary, home.layout)
        self._writing = ProblemLog(logger(), "S3 snapshot mirror: %s")

    def import_into_ledger(self, now: float) -> int:
        """Have a ledger that is new, or older than the files, take over what they say; returns how many entries that were.

        Older it is after a restored backup, or where its `-wal` is gone: then the list names more uploads than it does.
        """
        self._files.make_private()
        try:
            about = self._files.read_about() or self._about
            if self._ledger.moved is not None or about.destination != self._about.destination:
                if self._ledger.is_new and self._files.count_uploaded():
                    self._tell_of_others(about)
                return 0
            if not self._ledger.is_new and self._files.count_uploaded() <= self._ledger.count_uploaded_ids(about.kind):
                return 0
            if self._ledger.is_new and about.key_layout != self._about.key_layout:
                self._tell_of_layout(about)
            failed = self._read_failed() if self._ledger.is_new else {}
            uploaded, known_failed = self._ledger.import_state(self._files.read_uploaded(), failed, now, about.kind)
        except OSError as error:
            logger().warning(
                "S3 snapshot mirror: %s cannot be imported (%s)", self._files.uploaded_path, error.strerror
            )
            return 0
        if uploaded or known_failed:
            what = "ledger was missing" if self._ledger.is_new else "ledger was older than the state files"
            logger().info(
                "S3 snapshot mirror: %s, imported uploaded=%d failed=%d from %s ('retry-failed' sends failed ones again)",
                what, uploaded, known_failed, self._folder,
            )  # fmt: skip
        return uploaded + known_failed

    def _read_failed(self) -> dict[str, tuple[int, str]]:
        try:
            return self._files.read_failed()
        except (OSError, ValueError) as error:
            logger().warning(
                "S3 snapshot mirror: %s cannot be imported (%s) and is left out",
                self._files.failed_path,
                error,
            )
            return {}

    def _tell_of_others(self, about: About) -> None:
        logger().warning(
            "S3 snapshot mirror: %s names uploads to %s, and the settings say %s: it is not imported",
            self._files.uploaded_path, about.destination, self._about.destination,
        )  # fmt: skip

    def _tell_of_layout(self, about: About) -> None:
        logger().warning(
            "S3 snapshot mirror: the ledger is new, and keys were made by %s before, now by %s: what the state files do not "
            "name as uploaded is sent again under other keys",
            about.key_layout, self._about.key_layout,
        )  # fmt: skip

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Append what S3 has now, and bring the map of failures up to date."""
        uploaded = [o.entry.event.id for o in outcomes if o.state is State.UPLOADED and o.entry.kind is self._primary]
        try:
            if uploaded:
                self._files.append_uploaded(uploaded)
            if any(o.state in {State.FAILED, State.EXPIRED} for o in outcomes):
                self._write_failed()
        except OSError as error:
            self._tell(error)

    def write(self) -> None:
        """Write the files anew. A list never stands under the name of another bucket, whenever this is cut short."""
        try:
            if self._files.read_about() != self._about:
                self._files.write_uploaded(())
                self._files.write_about(self._about)
            self._files.write_uploaded(self._ledger.uploaded_ids(self._primary))
            self._write_failed()
        except OSError as error:
            self._tell(error)
        else:
            self._writing.clear()

    def _write_failed(self) -> None:
        self._files.write_failed(self._ledger.problems(State.FAILED, State.EXPIRED, limit=_MOST_PROBLEMS))

    def _tell(self, error: OSError) -> None:
        why = f"cannot write the state files in {self._folder} ({error.strerror})"
        self._writing.report(f"{why}; the ledger {self._ledger.path} holds everything all the same")
