"""The checks of `doctor` on this machine: Frigate's database and clips folder, inotify, and the state folders.

Frigate's files are only read. In the state folders a file is made and removed again; folders that had to be made for
that are removed too, so that the service, which may run as another user, makes its own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from frigate_s3_mirror.events import (
    Event,
    EventTable,
    Filters,
    FrigateDatabase,
    FrigateError,
    database_uri,
    parse_file_name,
    read_rows,
)
from frigate_s3_mirror.filter_check import nothing_wanted
from frigate_s3_mirror.finding import Finding, failed, ok, skipped, warning
from frigate_s3_mirror.folders import Folder, folder_problem
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME, LedgerError, OutdatedLedgerError
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import (
    DiskPictures,
    SourceRefusedError,
    SourceUnreadableError,
    SourceVanishedError,
    open_source,
)
from frigate_s3_mirror.status import is_running
from frigate_s3_mirror.units import format_duration, format_size

ENOUGH_PICTURES = 1000
"""Pictures after which counting the clips folder stops: a glance, not a census."""
_SAMPLE = 20  # newest ended events whose files are looked for
_LITTLE_SPACE = 100 * 1000 * 1000  # bytes
_NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "virtiofs", "vboxsf", "drvfs", "fakeowner",
     "ceph", "glusterfs", "lustre", "davfs"}
)  # fmt: skip
_COUNTS = """
SELECT count(*), coalesce(sum(e.has_snapshot = 1), 0), max(e.start_time),
       coalesce(sum(CASE WHEN e.has_snapshot = 1 AND {wanted} THEN 1 END), 0)
FROM event e
"""
_NEWEST = "SELECT {columns} FROM event e WHERE e.has_snapshot = 1 AND e.end_time < ? ORDER BY e.start_time DESC LIMIT ?"
_OLDEST = _NEWEST.replace(" DESC", "")
_A_DAY = 86400.0


# -- Frigate's database ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DatabaseSeen:
    """What a look into Frigate's database told."""

    events: int
    with_snapshot: int
    wanted: int
    """Events with a snapshot that S3_CAMERAS and S3_LABELS let through."""
    newest_start: float | None
    """Unix seconds."""
    sample: tuple[Event, ...]
    """The newest ended events with a snapshot."""
    oldest: tuple[Event, ...] = ()
    """The oldest ones: a share that was away for a while has none of theirs."""
    unfit: int = 0
    """Rows among these that are not as Frigate writes them."""
    unwanted: str | None = None
    """A sentence when S3_CAMERAS and S3_LABELS let nothing through."""


def look_at_database(settings: Settings, now: float) -> DatabaseSeen:
    """Open Frigate's database as the service does, and count. Raises FrigateError with a sentence."""
    path = settings.db_path
    filters = Filters(settings.cameras, settings.labels)
    database = FrigateDatabase(path, filters)
    database.open()
    database.close()
    condition, parameters = filters.sql()
    try:
        with contextlib.closing(sqlite3.connect(database_uri(path), uri=True, timeout=5.0)) as connection:
            connection.text_factory = untrusted.decoded
            table = EventTable.of(connection)
            events, with_snapshot, newest, wanted = connection.execute(
                _COUNTS.format(wanted=condition), parameters
            ).fetchone()
            newest_rows, oldest_rows = (
                read_rows(connection.execute(sql.format(columns=table.columns), (now, _SAMPLE)).fetchall())
                for sql in (_NEWEST, _OLDEST)
            )
    except sqlite3.Error as error:
        raise FrigateError(f"Frigate's database {path} cannot be read ({error}).") from error
    return DatabaseSeen(
        int(events),
        int(with_snapshot),
        int(wanted),
        _time_or_none(newest, now),
        tuple(newest_rows),
        tuple(oldest_rows),
        len(newest_rows.refused),
        nothing_wanted(path, filters) if with_snapshot and not wanted else None,
    )


def _time_or_none(value: object, now: float) -> float | None:
    """The start of the newest event; a row from the far future tells nothing."""
    seconds = untrusted.time_or_none(value)
    return seconds if seconds is not None and seconds < now + _A_DAY else None


def judge_database(path: Path, seen: DatabaseSeen | FrigateError, now: float, *, is_filtered: bool) -> Finding:
    """Whether the service can live on what was seen."""
    if isinstance(seen, FrigateError):
        return failed("database", _without_advice(str(seen)), database_fix(str(seen)))
    age = "" if seen.newest_start is None else f", the newest {format_duration(max(0.0, now - seen.newest_start))} ago"
    told = f"{path}: {_count(seen.events, 'event')}, {seen.with_snapshot:,} with a snapshot{age}."
    if seen.events and not seen.with_snapshot:
        return warning("database", told, "Turn snapshots on in Frigate's configuration (snapshots: enabled: true).")
    if is_filtered and seen.with_snapshot and not seen.wanted:
        why = seen.unwanted or "None of them is wanted."
        return failed(
            "database", f"{told} {why}", "Correct S3_CAMERAS and S3_LABELS: as they are, nothing is mirrored."
        )
    if seen.unfit:
        odd = f"{told} {seen.unfit} of the newest {_SAMPLE} are not as Frigate writes them, and are left out."
        return warning(
            "database", odd, "See them under Problems on the status page; a tool or a wrong clock wrote them."
        )
    if is_filtered:
        told = f"{told} S3_CAMERAS and S3_LABELS want {seen.wanted:,} of them."
    return ok("database", told)


_DATABASE_FIXES = (
    (
        ("malformed", "corrupt"),
        "Frigate's database is damaged: stop Frigate and bring frigate.db back from its backup, or repair it "
        '(sqlite3 frigate.db ".recover" | sqlite3 new.db); what can be read of it is mirrored meanwhile.',
    ),
    (
        ("no such file", "not a directory"),
        "Set FRIGATE_DB_PATH to Frigate's frigate.db; in a container, mount Frigate's /config folder.",
    ),
    (
        ("is not a frigate database", "not a database"),
        "Set FRIGATE_DB_PATH to the database that Frigate uses (database.path in its configuration).",
    ),
    (
        ("unable to open", "readonly", "read-only"),
        "The database is in WAL mode, and SQLite must map its -shm file beside it: start Frigate, or mount the "
        "folder of the database writable (it is still only read), and let this user read it.",
    ),
    (
        ("locked", "busy"),
        "Frigate holds the database, for a vacuum or a migration perhaps; run the doctor again in a minute.",
    ),
    (("permission", "authorization"), "Run the mirror as a user who may read the file and its folder."),
)
"""What SQLite or the system says, in small letters, with what to do; the first that fits counts."""
_DISK_FIX = "Check the disk under the database (dmesg, smartctl), and FRIGATE_DB_PATH."


def database_fix(sentence: str) -> str:
    """What to do about a database that does not open, from what SQLite or the system said about it."""
    said = sentence.lower()
    return next((fix for words, fix in _DATABASE_FIXES if any(word in said for word in words)), _DISK_FIX)


# -- the clips folder --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClipsSeen:
    """What a glance into the clips folder told."""

    problem: str | None
    """A sentence when the folder cannot be listed."""
    pictures: int
    """Snapshots and clean copies; counting stops at ENOUGH_PICTURES."""
    unreadable: str | None = None
    """A sentence's end about a picture that is there and cannot be opened."""
    sampled: int = 0
    sampled_found: int = 0
    """Of the sampled newest events, how many have their file."""
    oldest: int = 0
    oldest_found: int = 0
    """The same of the oldest ones."""
    absence: str | None = None
    """The service's own sentence (see folders.Folder) when it would not trust the folder."""


def look_at_clips(
    clips_dir: Path, sample: tuple[Event, ...], oldest: tuple[Event, ...] = (), folder: Folder | None = None
) -> ClipsSeen:
    """List the folder until enough is seen, open one picture, and look for the files of the newest events, and of the oldest.

    `folder` is the service's judge of the same folder.
    """
    problem = folder_problem(clips_dir)
    if problem is not None:
        return ClipsSeen(problem, 0)
    pictures, first = 0, None
    try:
        with os.scandir(clips_dir) as entries:
            for entry in entries:
                if parse_file_name(entry.name) is not None:
                    pictures, first = pictures + 1, first or entry.name
                if pictures >= ENOUGH_PICTURES:
                    break
    except OSError as error:
        return ClipsSeen(f"Frigate's clips folder {clips_dir} cannot be read ({error.strerror}).", pictures)
    found = [_with_file(clips_dir, events) for events in (sample, oldest)]
    unreadable = first and _unreadable(clips_dir, first)
    # A new Frigate has an empty folder; only where it has snapshots does their absence mean anything.
    absence = folder.absence() if folder is not None and sample else None
    return ClipsSeen(None, pictures, unreadable, *found[0], *found[1], absence)


def _with_file(clips_dir: Path, events: Sequence[Event]) -> tuple[int, int]:
    """How many were looked for, and how many were there."""
    safe = [event for event in events if event.is_named_safely]
    pictures = DiskPictures(clips_dir)
    return len(safe), sum(pictures.find(event, Kind.SNAPSHOT) is not None for event in safe)


def _unreadable(clips_dir: Path, name: str) -> str | None:
    try:
        descriptor, _ = open_source(clips_dir, name)
    except SourceUnreadableError as error:
        return str(error).partition(": ")[0]  # its advice is given below
    except (SourceVanishedError, SourceRefusedError):
        return None  # Frigate deleted it since, or no picture of its own: told when it is met
    os.close(descriptor)
    return None


def judge_clips(clips_dir: Path, seen: ClipsSeen) -> Finding:
    """Whether the pictures can be read and are those of the database."""
    if seen.problem is not None:
        return failed("clips folder", _without_advice(seen.problem), _CLIPS_FIX)
    if seen.unreadable is not None:
        return failed(
            "clips folder", f"{clips_dir}: {seen.unreadable}.", "Run the mirror as a user who may read Frigate's files."
        )
    if seen.absence is not None:
        return failed("clips folder", seen.absence, _SHARE_FIX)
    many = "or more" if seen.pictures >= ENOUGH_PICTURES else "seen"
    told = f"{clips_dir}: readable, {_count(seen.pictures, 'picture')} {many}."
    if seen.sampled == 0:
        return ok("clips folder", told)
    share = f"{told} Of the newest {_count(seen.sampled, 'event')} with a snapshot, {seen.sampled_found} have a file"
    share += f", of the oldest {seen.oldest}, {seen.oldest_found}." if seen.oldest else "."
    if _are_too_few(seen.sampled_found, seen.sampled) or _are_too_few(seen.oldest_found, seen.oldest):
        return warning("clips folder", share, _SHARE_FIX if seen.sampled_found else f"Another Frigate's? {_SHARE_FIX}")
    return ok("clips folder", share)


def _are_too_few(found: int, looked_for: int) -> bool:
    """Single files may be gone for other reasons; a quarter of them is not."""
    return (looked_for - found) * 4 > looked_for


_SHARE_FIX = (
    "Is the share mounted? Frigate may be writing into the mount point: mount it, restart Frigate, and run the doctor "
    "again. Or correct FRIGATE_CLIPS_DIR."
)
_CLIPS_FIX = (
    "Set FRIGATE_CLIPS_DIR to Frigate's clips folder; in a container, mount Frigate's media folder (read-only will do)."
)


# -- inotify -----------------------------------------------------------------------------------------------------------


def check_inotify(clips_dir: Path) -> Finding:
    """Try a watch, and look whether the file system tells of files that others write."""
    if sys.platform != "linux":
        return skipped("inotify", "Not on this system; new snapshots are found by scanning.")
    return judge_inotify(_watch_error(clips_dir), filesystem_type(clips_dir))


def judge_inotify(error: OSError | None, filesystem: str) -> Finding:
    """Whether new pictures are told of at once; where not, the scan carries the job, a little later."""
    scan = "Nothing is lost: the scan finds each picture (S3_SCAN_INTERVAL)."
    if error is not None and error.errno in {errno.ENOSPC, errno.EMFILE}:
        knob = "max_user_watches" if error.errno == errno.ENOSPC else "max_user_instances"
        return warning("inotify", f"The kernel's limit is used up. {scan}", f"Raise sysctl fs.inotify.{knob}.")
    if error is not None:
        return warning(
            "inotify", f"The clips folder cannot be watched ({error.strerror}). {scan}", "Check FRIGATE_CLIPS_DIR."
        )
    if is_network_type(filesystem):
        return ok("inotify", f"Blind to writes of other machines on {filesystem}; the scan carries the job there.")
    return ok("inotify", f"Tells of new pictures at once (file system {filesystem or 'unknown'}).")


def _watch_error(clips_dir: Path) -> OSError | None:
    from asyncinotify import Inotify, Mask

    try:
        with Inotify() as inotify:
            inotify.add_watch(clips_dir, Mask.CLOSE_WRITE | Mask.ONLYDIR)
    except OSError as error:
        return error
    return None


def filesystem_type(path: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The type of the file system that holds the path, for example "ext4", or "" when the system does not tell."""
    try:
        text = mounts.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return type_in(text, path.resolve())


def type_in(mounts: str, path: Path) -> str:
    """The type of the innermost mount above the path; of several on one mount point the last one counts."""
    best, depth = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(_unescaped(fields[1]))
        if path.is_relative_to(point) and len(point.parts) >= depth:
            best, depth = fields[2], len(point.parts)
    return best


def _unescaped(field: str) -> str:
    """Mount points with spaces are written with octal escapes."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def is_network_type(filesystem: str) -> bool:
    """Whether inotify is blind and SQLite's WAL is unsafe there, because other machines write too."""
    return filesystem in _NETWORK_TYPES or filesystem.startswith("fuse.")


# -- the state folders -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateSeen:
    """What a trial in the state folder told."""

    problem: str | None = None
    """Why it cannot be written or SQLite does not work there; the end of a sentence."""
    journal: str = ""
    free_bytes: int = 0
    is_running: bool = False
    """A service holds the folder's lock."""
    ledger_problem: str | None = None
    """A sentence when a ledger is there that cannot be used."""
    ledger_bytes: int | None = None
    """Size of the ledger, None when there is none yet."""


def look_at_state(folder: Path) -> StateSeen:
    """Make a ledger and a lock in a temporary folder there, and look at the ledger that is there."""
    try:
        with _existing(folder), tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as trial:
            ledger = Ledger(Path(trial) / FILE_NAME)
            ledger.open()
            journal = str(ledger.connection.execute("PRAGMA journal_mode").fetchone()[0])
            ledger.close()
            _try_lock(Path(trial) / "lock")
            problem, size = _ledger_there(folder / FILE_NAME)
            return StateSeen(None, journal, shutil.disk_usage(folder).free, is_running(folder), problem, size)
    except OSError as error:
        return StateSeen(error.strerror or str(error))
    except LedgerError as error:
        return StateSeen(f"SQLite does not work there: {error.__cause__}")


def judge_state(folder: Path, seen: StateSeen, filesystem: str) -> Finding:
    """Whether the ledger can live there."""
    choose = "Set S3_STATE_DIR to a folder on a local disk that the mirror's user may write"
    if seen.problem is not None:
        return failed("state folder", f"{folder} cannot be used ({seen.problem}).", f"{choose}.")
    if seen.ledger_problem is not None:
        return failed("state folder", seen.ledger_problem, f"{choose}, or make the ledger writable for it.")
    service = " A service is running on it." if seen.is_running else ""
    size = "no ledger yet" if seen.ledger_bytes is None else f"a ledger of {format_size(seen.ledger_bytes)}"
    told = f"{folder}: writable, SQLite works ({seen.journal}), {size}, {format_size(seen.free_bytes)} free.{service}"
    if seen.free_bytes < _LITTLE_SPACE:
        return warning("state folder", told, "Free some space: a ledger that cannot grow stops the mirror.")
    if is_network_type(filesystem):
        return warning("state folder", f"{told} It is on {filesystem}, where locks are not dependable.", f"{choose}.")
    return ok("state folder", told)


def check_text_state(folder: Path) -> Finding:
    """The two text files are exports: without them the mirror works, and a lost ledger is harder to bring back."""
    try:
        with _existing(folder), tempfile.TemporaryFile(prefix=".doctor-", dir=folder):
            return ok("text state", f"{folder}: writable.")
    except OSError as error:
        return warning(
            "text state",
            f"{folder} cannot be written ({error.strerror}); the mirror works without its text exports there.",
            "Make the folder writable, or set S3_STATE_DIR, to have .s3_uploaded_events and .s3_failed_events.",
        )


@contextlib.contextmanager
def _existing(folder: Path) -> Iterator[None]:
    """The folder with its parents, made where missing and then removed again. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in missing:
            with contextlib.suppress(OSError):  # a service that just started uses it
                path.rmdir()


def _try_lock(path: Path) -> None:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _ledger_there(path: Path) -> tuple[str | None, int | None]:
    """What is wrong with the ledger, and its size in bytes."""
    if not path.exists():
        return None, None
    if not os.access(path, os.R_OK | os.W_OK):
        return f"The ledger {path} is there, but this user may not write it.", None
    ledger = Ledger(path)
    try:
        ledger.open(read_only=True)
        ledger.counts()
    except OutdatedLedgerError:
        return None, path.stat().st_size
    except (LedgerError, sqlite3.Error, ValueError) as error:
        return (str(error) if isinstance(error, LedgerError) else f"The ledger {path} is damaged ({error})."), None
    finally:
        ledger.close()
    return None, path.stat().st_size


# -- words -------------------------------------------------------------------------------------------------------------


def _without_advice(sentence: str) -> str:
    """The part before the advice, which the finding's own fix replaces."""
    return sentence.split("; check ", 1)[0].rstrip(".") + "."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
