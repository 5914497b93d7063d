"""What the ledger can tell a person who looks: pictures by page, activity, problems by reason. It only reads.

Pages are found by the place of the last picture before them and never by a count, so the last page of a million is as
quick as the first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from frigate_s3_mirror.advice import must_act
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import REASON, Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.untrusted import RefusedValueError

_COLUMNS = (
    "id, event_id, camera, label, kind, state, key, source, coalesce(start_time, happened_at), happened_at, uploaded_at, "
    "size_bytes, sha256, etag, attempts, last_error, event"
)
_BEGAN = "coalesce(start_time, happened_at)"
_WHY = f"CASE WHEN state = 'pending' AND :waits IS NOT NULL THEN :waits ELSE {REASON} END"
_PICTURE = Kind.SNAPSHOT.value
_EXAMPLES = 5
_SEARCHED = 200
"""Entries that are looked through for examples of different events: a clip that is lost may have many."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One object as the ledger knows it; times are unix seconds."""

    row: int
    event_id: str
    camera: str | None
    label: str | None
    kind: str
    state: State
    key: str | None
    source: str | None
    began_at: float
    """When its event began, which dates its key, too."""
    happened_at: float
    """When its event ended."""
    uploaded_at: float | None
    size_bytes: int | None
    sha256: str | None
    etag: str | None
    attempts: int
    error: str | None
    event: Event | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pictures: of a state, and perhaps of a camera, a label, events begun in [since, until) in unix seconds."""

    state: State = State.UPLOADED
    camera: str | None = None
    label: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after this picture, newest first."""

    began_at: float
    row: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """Uploads of one stretch of time that begins at `start` (unix seconds)."""

    start: float
    uploads: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Group:
    """Entries that did not make it (yet) for the same reason."""

    state: State
    reason: str
    count: int
    newest: float
    event_ids: tuple[str, ...]
    """Of the newest few."""
    events: int
    """How many events they are of: a clip has many entries."""
    must_act: bool = False
    """They wait, or were given up, until a person changes something."""


class Catalogue:
    """Questions to an open ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._connection = ledger.connection

    def page(self, wanted: Wanted, limit: int, after: Place | None = None) -> tuple[list[Picture], Place | None]:
        """Up to `limit` snapshots, newest first, and where the next page begins (None: this is the last)."""
        terms = ["state = ?", "kind = 'snapshot'"]
        values: list[str | float] = [wanted.state.value]
        for term, value in (
            ("camera = ?", wanted.camera),
            ("label = ?", wanted.label),
            (f"{_BEGAN} >= ?", wanted.since),
            (f"{_BEGAN} < ?", wanted.until),
        ):
            if value is not None:
                terms.append(term)
                values.append(value)
        if after is not None:
            terms.append(f"{_BEGAN} <= ? AND ({_BEGAN} < ? OR id < ?)")
            values += [after.began_at, after.began_at, after.row]
        sql = f"""SELECT {_COLUMNS} FROM object INDEXED BY object_begun WHERE {" AND ".join(terms)}
                  ORDER BY {_BEGAN} DESC, id DESC LIMIT ?"""  # noqa: S608  # only fixed fragments are put together
        found = self._connection.execute(sql, [*values, limit + 1]).fetchall()
        shown = found[:limit]
        return _pictures(shown), Place(shown[-1][8], shown[-1][0]) if len(found) > limit else None

    def event(self, event_id: str) -> list[Picture]:
        """All objects of an event but its clip, which can have hundreds; its snapshot first."""
        sql = f"SELECT {_COLUMNS} FROM object WHERE event_id = ? AND kind <> 'clip'"  # noqa: S608
        found = _pictures(self._connection.execute(sql, (event_id,)))
        return sorted(found, key=lambda picture: picture.kind != _PICTURE)

    def names(self) -> tuple[list[str], list[str]]:
        """Cameras and labels of the uploaded snapshots, for the filters."""
        rows = self._connection.execute(
            "SELECT DISTINCT camera, label FROM object WHERE state = 'uploaded' AND kind = ?", (_PICTURE,)
        ).fetchall()
        return sorted({row[0] for row in rows if row[0]}), sorted({row[1] for row in rows if row[1]})

    def by_camera(self) -> dict[str, dict[str, int]]:
        """Snapshots by camera and state, as the proof counts them: other kinds would make them more than there are."""
        table: dict[str, dict[str, int]] = {}
        sql = """SELECT coalesce(camera, ''), state, count(*) FROM object WHERE kind = 'snapshot'
                 GROUP BY camera, state ORDER BY camera"""
        for camera, state, count in self._connection.execute(sql):
            table.setdefault(camera, {})[state] = count
        return table

    def activity(self, now: float, hours: int = 24, bucket_seconds: int = 1800) -> list[Bucket]:
        """Uploads of the last hours, an item for each stretch, the oldest first, gaps with zeros."""
        first = int(now // bucket_seconds - hours * 3600 // bucket_seconds + 1) * bucket_seconds
        sql = """SELECT CAST(uploaded_at AS INTEGER) / ?1 * ?1, count(*), coalesce(sum(size_bytes), 0) FROM object
                 WHERE uploaded_at >= ?2 GROUP BY 1"""
        found = {row[0]: (row[1], row[2]) for row in self._connection.execute(sql, (bucket_seconds, first))}
        starts = range(first, int(now) + 1, bucket_seconds)
        return [Bucket(float(start), *found.get(start, (0, 0))) for start in starts]

    def problems(self, waits_for: str | None = None) -> list[Group]:
        """What is failed, lost, or waiting after a failure, the most frequent reason first within each state.

        `waits_for`: why S3 as a whole takes nothing now. Then all that is pending waits for that, tried or not.
        """
        sql = f"""SELECT state, {_WHY}, count(*), max(happened_at), count(DISTINCT event_id) FROM object
                  WHERE state IN ('failed', 'expired') OR (state = 'pending' AND (last_error IS NOT NULL OR :waits IS NOT NULL))
                  GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 200"""  # noqa: S608
        groups = [
            Group(
                State(state), reason, count, newest, self._examples(state, reason, waits_for), events,
                must_act=state == State.FAILED or (state == State.PENDING and must_act(reason)),
            )
            for state, reason, count, newest, events in self._connection.execute(sql, {"waits": waits_for}).fetchall()
        ]  # fmt: skip
        order = [State.FAILED, State.EXPIRED, State.PENDING]
        return sorted(groups, key=lambda group: order.index(group.state))

    def _examples(self, state: str, reason: str, waits_for: str | None) -> tuple[str, ...]:
        sql = f"SELECT event_id FROM object WHERE state = :state AND {_WHY} = :reason ORDER BY happened_at DESC LIMIT :most"  # noqa: S608
        values = {"state": state, "reason": reason, "waits": waits_for, "most": _SEARCHED}
        rows = self._connection.execute(sql, values)
        return tuple(dict.fromkeys(row[0] for row in rows))[:_EXAMPLES]


@contextmanager
def open_catalogue(ledger: Ledger) -> Iterator[Catalogue]:
    """A catalogue on a connection of its own. Raises LedgerError with a sentence."""
    with ledger.reading():
        yield Catalogue(ledger)


def _pictures(rows: Iterable[Sequence[Any]]) -> list[Picture]:
    """Those of the rows that are some: on a damaged disk one row may be none, and the others are shown."""
    pictures = []
    for row in rows:
        with contextlib.suppress(ValueError):
            values = [
                *row[:5],
                State(row[5]),
                *row[6:8],
                untrusted.number(row[8]),
                untrusted.number(row[9]),
                *row[10:-1],
                _event(row[-1]),
            ]
            pictures.append(Picture(*values))
    return pictures


def _event(text: str | None) -> Event | None:
    """None also for a text that cannot be read: the picture is shown with what the other columns tell."""
    try:
        return Event.from_json(text) if text else None
    except RefusedValueError:
        return None
