"""What must be true of the mirror, whatever the world does: after each step, and once the faults have stopped."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing

from frigate_s3_mirror.health import Health
from simulation.faults import WELL, Object
from simulation.world import Truth, World

LONGEST_REST = 3 * 3600.0
"""Virtual seconds after the last fault within which everything is to be in the bucket, and health OK again."""
_UNNOTICED = 2700.0
"""Virtual seconds for which a picture may be missing while the mirror runs and says OK: its own grace, twice, and a look."""
_GIVEN_UP = ("failed", "expired", "absent")

Row = tuple[str, str, str | None, str | None, str | None, str | None]


def rows(world: World) -> list[Row]:
    """What the ledger says: event id, state, key, source, checksum, error."""
    path = world.root / "state" / "ledger.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT event_id, state, key, source, sha256, last_error FROM object WHERE kind = 'snapshot' ORDER BY id"
        return connection.execute(sql).fetchall()


def after_step(world: World) -> None:
    """Look for what is wrong at any moment."""
    if world.mirror is None:
        return
    found = rows(world)
    counts = sorted({state: sum(row[1] == state for row in found) for state in {row[1] for row in found}}.items())
    world.note(f"ledger {counts} health {world.condition.health if world.condition else None}")
    for what in (*_told_and_not_there(world, found), *_given_up(world, found), *_unnoticed(world)):
        world.violate(what)


def _told_and_not_there(world: World, found: list[Row]) -> Iterator[str]:
    there = world.s3.buckets.get(world.mirror.settings.bucket if world.mirror else "", {})
    for event_id, state, key, _, sha256, _ in found:
        if state != "uploaded" or key is None:
            continue
        if key not in there:
            yield f"not there: {event_id} counts as uploaded, and the bucket lacks {key}"
        elif sha256 is not None and hashlib.sha256(there[key].body).hexdigest() != sha256:
            yield f"another: {event_id} counts as uploaded with another content than {key} has"


def _given_up(world: World, found: list[Row]) -> Iterator[str]:
    """Terminal states with which a person who knew the world would not agree."""
    for event_id, state, _, _, _, error in found:
        truth = world.truth.get(event_id)
        if state not in _GIVEN_UP or truth is None or truth.is_odd:
            continue
        if state == "failed":
            agrees = truth.was_poisoned or world.s3.unlucky[event_id] >= 3
        else:
            agrees = truth.was_away or not world.holds(truth)
        if not agrees:
            yield f"given up: {event_id} is {state} ({error})"


def is_due(world: World, truth: Truth) -> bool:
    """Whether it ought to be in the bucket, sooner or later."""
    return (
        not truth.is_odd and truth.has_row and truth.is_whole and truth.finished_at is not None and world.holds(truth)
    )


def is_mirrored(world: World, truth: Truth) -> bool:
    """Whether the bucket has a whole picture of it."""
    return _has_it(world.s3.buckets.get(world.bucket, {}), truth)


def _has_it(bucket: dict[str, Object], truth: Truth) -> bool:
    return any(truth.event.id in key and stored.body in truth.versions for key, stored in bucket.items())


def _unnoticed(world: World) -> Iterator[str]:
    """Health says OK though something has been missing for long, of which it could know."""
    if world.condition is None or world.condition.health is not Health.OK or not world.disk.is_mounted:
        return
    now = world.clock.monotonic()
    for truth in world.truth.values():
        if truth.finished_at is None or not is_due(world, truth) or truth.was_poisoned or truth.was_away:
            continue
        began = max(truth.finished_at, truth.changed_at, world.started_at, world.jumped_at)
        if now - began > _UNNOTICED and not is_mirrored(world, truth):
            yield f"unnoticed: {truth.event.id} has been missing for {now - began:.0f} s, and health is OK"


async def at_rest(world: World) -> None:
    """The faults stop; in bounded time all is mirrored, and health says so."""
    await world.calm()
    world.note("calm")
    began = world.clock.monotonic()
    left = ["not looked at yet"]
    pause = 30.0
    while left and world.clock.monotonic() - began < LONGEST_REST:
        await world.live(pause, longest=60.0)
        pause = min(600.0, pause * 2)
        left = list(_left(world)) if not world.later else ["things will still happen"]
        if world.violations:
            return
    world.note(f"at rest after {world.clock.monotonic() - began:.0f} s")
    after_step(world)
    for what in left:
        world.violate(f"at rest: {what}")


def _left(world: World) -> Iterator[str]:
    """What is not as it should be once all is well."""
    if world.mirror is None or world.s3.mode != WELL:
        yield "the mirror does not run"
        return
    found = {row[0]: row for row in rows(world)}
    there = world.s3.buckets[world.bucket]
    keeps_first = world.environ.get("S3_OVERWRITE") == "never"
    for truth in world.truth.values():
        event_id = truth.event.id
        row = found.get(event_id)
        if truth.must_survive and not any(_has_it(bucket, truth) for bucket in world.s3.buckets.values()):
            yield f"{event_id} is lost, though the mirror had kept it"
        if row is not None and row[1] in {"pending", "awaited"} and not truth.is_odd and world.holds(truth):
            yield f"{event_id} is still {row[1]} ({row[5]})"
        if not is_due(world, truth):
            continue
        if row is None or row[1] != "uploaded":
            yield f"{event_id} is {row[1:] if row else 'not known'}, and its file is there"
        elif row[2] is not None and row[2] in there and not keeps_first:
            body = there[row[2]].body
            if body != truth.versions[-1] and truth.changed_at > world.started_at:
                yield f"{event_id}: the bucket has another picture than Frigate"
    has_odd = any(
        truth.is_odd for truth in world.truth.values()
    )  # of whose snapshots health may say that they are missing
    if world.condition is None or (world.condition.health is not Health.OK and not has_odd):
        yield f"health is {world.condition}"
