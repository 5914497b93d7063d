"""The messages that tests publish are understood by the service as those of the real Frigate are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frigate_messages import message
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.frigate_messages import glance, understand
from frigate_s3_mirror.keys import object_metadata

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from([10**400, -1e18, 3e11, "\ud800", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    "id", "camera", "label", "sub_label", "start_time", "end_time", "top_score", "entered_zones", "has_snapshot", "snapshot",
    "frame_time", "false_positive",
)  # fmt: skip
AFTER = {
    "id": "1.5-abcdef",
    "camera": "yard",
    "label": "cat",
    "start_time": 1.5,
    "end_time": None,
    "has_snapshot": True,
}


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=4), st.sampled_from(["new", "update", "end", 3, None]))
def test_no_message_raises_and_what_it_says_can_be_used(odd: dict[str, object], kind: object) -> None:
    """Whatever its fields hold: nothing, or an event whose times make dates and whose names can be stored."""
    payload = json.dumps({"before": {}, "after": {**AFTER, **odd}, "type": kind}).encode()
    glance(payload)
    said = understand(payload)
    if said is not None and said.event is not None:
        datetime.fromtimestamp(said.event.start_time, UTC)
        said.event.to_json().encode()
        object_metadata(said.event, "0" * 64)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.sampled_from([b"[" * 100_000, b'{"after":' * 50_000, b"NaN", b"[]", b"3"])
)
def test_what_is_no_message_is_left_out(payload: bytes) -> None:
    """Another program's, or a torn one."""
    glance(payload)
    assert understand(payload) is None


@pytest.mark.parametrize("time", ["1.2.3", "1" * 400, ".", "..."])
def test_a_glance_at_a_time_that_is_none(time: str) -> None:
    """The pattern lets more through than a number has."""
    start = (
        '{"before": {}, "after": {"id": "1.5-abcdef", "camera": "yard", "frame_time": 1.0, "snapshot": {"frame_time": '
    )
    payload = f'{start}{time}}}}}, "type": "update"}}'.encode()
    glance(payload)
    assert understand(payload) is None or time.isdigit()


@pytest.mark.parametrize("version", ["0.14", "0.16", "0.17", "0.18"])
def test_what_is_said_from_the_first_to_the_last_message(tmp_path: Path, version: str) -> None:
    """New and update name the event with its sub label (a list of name and score), end says that it is over."""
    with SimulatedFrigate(tmp_path, version) as frigate:
        event = frigate.begin_event("garage", "person", "Bob")
        new, update = (understand(message(event, kind, 5.5, version).encode()) for kind in ("new", "update"))
        end = understand(message(frigate.end_event(event), "end", 5.5, version).encode())
    assert new == update
    assert new is not None
    assert new.event is not None
    assert (new.event.id, new.event.sub_label, new.picture_at, new.is_end) == (event.id, "Bob", 5.5, False)
    assert end is not None
    assert (end.event_id, end.event, end.is_end) == (event.id, None, True)


def test_before_tells_what_changed(tmp_path: Path) -> None:
    """The first message turns a false positive into an event, the last one gives it an end."""
    with SimulatedFrigate(tmp_path) as frigate:
        event = frigate.begin_event("garage")
        new = json.loads(message(event, "new", 1.0))
        end = json.loads(message(frigate.end_event(event), "end", 1.0))
    assert (new["before"]["false_positive"], new["after"]["false_positive"]) == (True, False)
    assert (new["before"]["snapshot"], new["after"]["snapshot"]["frame_time"]) == (None, 1.0)
    assert end["before"]["end_time"] is None
    assert end["after"]["end_time"] > event.start_time - 2


def test_each_version_has_its_fields(tmp_path: Path) -> None:
    """0.16 knows speed, path and severity; 0.18 says that the picture is a clean one."""
    with SimulatedFrigate(tmp_path) as frigate:
        event = frigate.begin_event("garage")
    fields = {
        version: set(json.loads(message(event, "new", 1.0, version))["after"]) for version in ("0.14", "0.16", "0.18")
    }
    assert {"path_data", "max_severity", "active"} < fields["0.16"] - fields["0.14"]
    assert fields["0.18"] - fields["0.16"] == {"snapshot_clean", "computed_score"}


@pytest.mark.parametrize("version", ["0.14", "0.16", "0.17", "0.18"])
def test_a_glance_sees_the_same(tmp_path: Path, version: str) -> None:
    """Of updates alone; whoever writes JSON in another way is read in full."""
    with SimulatedFrigate(tmp_path, version) as frigate:
        event = frigate.begin_event("garage", "person", '"after": {"id": "x", ')
    update, new, end = (message(event, kind, 5.5, version).encode() for kind in ("update", "new", "end"))
    said = understand(update)
    assert said is not None
    assert glance(update) == (said.event_id, said.picture_at) == (event.id, 5.5)
    assert (glance(new), glance(end), glance(b"")) == (None, None, None)
    assert glance(json.dumps(json.loads(update), separators=(",", ":")).encode()) is None
    assert glance(message(event, "update", 5.5, version, snapshot=None).encode()) is None
