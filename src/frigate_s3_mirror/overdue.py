"""What Frigate has and the bucket has not, though it should by now: counted in both databases, for health alone.

It reads counts and no values of Frigate's, so that no odd row can keep it from seeing what the odd row holds up.
"""

from __future__ import annotations

from dataclasses import dataclass

from frigate_s3_mirror.scan import JoinedDatabases

REACH_SECONDS = 7 * 86400.0
"""How far back it looks."""
# A row that was cleared of its snapshot may never have had a file: only the scan can tell, by looking for it.
_OVERDUE = """
SELECT count(*) FILTER (WHERE e.end_time <= :mark), count(*)
FROM frigate.event e LEFT JOIN object o ON o.event_id = e.id AND o.kind = 'snapshot'
WHERE e.start_time >= :since AND e.end_time <= :upto AND {wanted}
  AND (o.state = 'pending' OR (o.id IS NULL AND e.has_snapshot = 1))
"""


@dataclass(frozen=True, slots=True)
class Overdue:
    """Snapshots that are missing: of events that ended up to the mark, and up to now less the grace."""

    upto_mark: int
    total: int


class OverdueScan(JoinedDatabases):
    """Asks both databases on a connection of its own; one thread at a time."""

    def count(self, mark: float, now: float, grace: float, condition: tuple[str, list[str]]) -> Overdue:
        """Count what is missing of events that ended at least `grace` seconds ago. Raises FrigateError.

        `condition`: over the alias `e`, with its parameters (see events.Filters.sql).
        """
        self.ensure_open()
        wanted, parameters = _named(condition)
        values = {"mark": mark, "since": now - REACH_SECONDS, "upto": now - grace, **parameters}
        (row,) = self.rows(_OVERDUE.format(wanted=wanted), values)
        return Overdue(int(row[0]), int(row[1]))


def _named(condition: tuple[str, list[str]]) -> tuple[str, dict[str, str]]:
    """The condition with named parameters in place of question marks."""
    sql, values = condition
    parts = sql.split("?")
    text = parts[0] + "".join(f":f{number}{part}" for number, part in enumerate(parts[1:]))
    return text, {f"f{number}": value for number, value in enumerate(values)}
