"""When files that Frigate does not hand out count as gone, and when the whole folder does."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from frigate_s3_mirror.api_folder import ApiFolder, evenly_chosen
from frigate_s3_mirror.frigate_api import ApiError


class Frigate:
    """What is seen of its newest files, and what time it is."""

    def __init__(self, *seen: bool) -> None:
        self.seen: Sequence[bool] | None = seen
        self.looks = 0
        self.now = 0.0
        self.folder = ApiFolder("snapshots", self._look, lambda: self.now)

    def _look(self) -> Sequence[bool]:
        self.looks += 1
        if self.seen is None:
            raise ApiError("Frigate's API does not answer.")
        return self.seen


@pytest.mark.parametrize(
    ("seen", "is_away"),
    [
        ((), False),
        ((False,) * 3, False),  # as a kill of a new Frigate leaves them
        ((False,) * 4, True),
        ((True, False, False, False), True),  # nginx remembers one
        ((True, True, False, False), False),
    ],
)
def test_most_files_decide(seen: tuple[bool, ...], is_away: bool) -> None:
    frigate = Frigate(*seen)
    sentence = frigate.folder.blame()
    assert (sentence is not None) == is_away
    assert frigate.folder.problem() == sentence


def test_it_is_back_once() -> None:
    frigate = Frigate(*[False] * 4)
    assert not frigate.folder.is_back()
    told = "Frigate hands out 0 of 4 snapshots; is its media folder mounted?"
    assert frigate.folder.blame() == told
    frigate.seen = (True,) * 4
    assert not frigate.folder.is_back(), "what was seen counts for a while"
    frigate.now += 60
    assert frigate.folder.is_back()
    assert not frigate.folder.is_back()
    assert frigate.folder.problem() is None


def test_when_all_are_back_a_missing_one_is_forgiven_for_a_while() -> None:
    """nginx remembers for two minutes that it was not there."""
    frigate = Frigate(*[False] * 4)
    frigate.folder.blame()
    frigate.seen, frigate.now = (True,) * 4, 60.0
    assert frigate.folder.is_back()
    frigate.now += 120
    assert frigate.folder.blame() == "Frigate's media folder is back, but for two minutes its web server may not know."
    assert frigate.folder.problem() is None
    frigate.now += 60
    assert frigate.folder.blame() is None


def test_many_missing_files_ask_once() -> None:
    frigate = Frigate(True, True)
    for _ in range(100):
        frigate.folder.blame()
    assert frigate.looks == 1


def test_no_answer_is_no_proof() -> None:
    frigate = Frigate(*[False] * 4)
    frigate.folder.blame()
    frigate.seen, frigate.now = None, 60.0
    assert frigate.folder.blame() == "Frigate's API does not answer."
    assert not frigate.folder.is_back()
    assert frigate.folder.problem() is not None


def choose(folder: Path, starts: Sequence[float], since: float = float("-inf")) -> list[str]:
    """Of events that are named by their place in `starts`."""
    path = folder / "copy.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE event (id TEXT, start_time REAL)")
        connection.executemany("INSERT INTO event VALUES (?, ?)", [(str(n), at) for n, at in enumerate(starts)])
    return evenly_chosen(path, "id", "event", "1", since)


@pytest.mark.parametrize(
    ("starts", "count"),
    [
        ((), 0),
        ((5.0,), 1),
        ((100.0, 100.02, 100.08, 900.0), 4),  # a burst: three of them are one point in time
        ((100.0,) * 4, 4),
        ((100.0,) * 11 + (1e9,), 12),
        ((0.0, *(1e9 + n / 1000 for n in range(500))), 12),
    ],
)
def test_events_of_one_moment_are_as_many_as_others(tmp_path: Path, starts: Sequence[float], count: int) -> None:
    chosen = choose(tmp_path, starts)
    assert len(chosen) == len(set(chosen)) == count


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e9, 4e9) | st.sampled_from([1.7e9, 1.7e9 + 0.01]), min_size=4, max_size=60))
def test_four_rows_give_four_samples(tmp_path_factory: pytest.TempPathFactory, starts: list[float]) -> None:
    """Whenever they began; the newest is among them."""
    chosen = choose(tmp_path_factory.getbasetemp(), starts)
    assert len(set(chosen)) == min(12, len(starts))
    assert max(starts) in {starts[int(n)] for n in chosen}


def test_what_retention_may_have_deleted_is_asked_for_last(tmp_path: Path) -> None:
    """Ten old ones beside six young ones are left out; beside three they are needed."""
    old, young = [float(n) for n in range(10)], [1000.0 + n for n in range(6)]
    assert {int(n) for n in choose(tmp_path, old + young, since=500.0)} == set(range(10, 16))
    assert len(choose(tmp_path, old + young[:3], since=500.0)) == 12
