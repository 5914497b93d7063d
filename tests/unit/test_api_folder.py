"""When files that Frigate does not hand out count as gone, and when the whole folder does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from frigate_s3_mirror.api_folder import ApiFolder
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
