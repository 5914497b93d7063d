"""Which segments a clip has, how they are called, and the playlist that ties them together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.clip_scan import Segment
from frigate_s3_mirror.clips import ClipPart, playlist
from frigate_s3_mirror.environment import SettingsError, load
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.keys import clip_key_for, parse_key, recording_path, segment_name
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.pacer import Pacer
from frigate_s3_mirror.policies import lifecycle_rules, tags

SETTINGS = {"S3_BUCKET": "b-b", "S3_PATH_PREFIX": "p", "S3_KEY_TIMEZONE": "UTC"}
EVENT = Event("1795455533.500869-mmeox8", "Garage-2", "car", None, 1795455533.5, None, True, (), None, False)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/media/frigate/recordings/2026-11-24/02/Garage-2/27.51.mp4", "2026-11-24/02/Garage-2/27.51.mp4"),
        ("2026-11-24/02/Garage-2/27.51.mp4", "2026-11-24/02/Garage-2/27.51.mp4"),
        ("/mnt/nas/2026-11-24/02/yard/00.00.mp4", "2026-11-24/02/yard/00.00.mp4"),
        ("/etc/passwd", None),
        ("/media/frigate/recordings/2026-11-24/02/../27.51.mp4", None),
        ("/media/frigate/recordings/2026-11-24/02/a b/27.51.mp4", None),
    ],
)
def test_a_segments_path_is_told_from_its_end(path: str, source: str | None) -> None:
    """Wherever Frigate's container mounts its recordings, the last four names are the same here."""
    assert Segment(path, 0.0, 10.0).source == source


@given(st.integers(0, 4_000_000_000))
def test_a_clips_key_says_what_it_is(start: int) -> None:
    """The event's folder and the segment's name lead back to both."""
    settings = load(SETTINGS).settings
    key = clip_key_for(EVENT, segment_name(start), settings)
    parts = parse_key(key)
    assert parts is not None
    assert (parts.event_id, parts.kind, parts.camera, parts.part) == (
        EVENT.id, Kind.CLIP, "Garage-2", segment_name(start)
    )  # fmt: skip
    playlist_parts = parse_key(clip_key_for(EVENT, "", settings))
    assert playlist_parts is not None
    assert (playlist_parts.kind, playlist_parts.part) == (Kind.CLIP, "")


def test_the_key_of_a_clip_is_beside_its_snapshot() -> None:
    """Names are UTC: a local hour can come twice."""
    settings = load({**SETTINGS, "S3_KEY_TIMEZONE": "Asia/Tokyo"}).settings
    key = clip_key_for(EVENT, segment_name(1795455530.9), settings)
    assert key == "p/Garage-2/2026-11-24/1795455533.500869-mmeox8/20261123T173850Z.mp4"
    assert recording_path("Garage-2", segment_name(1795455530.9)) == "2026-11-23/17/Garage-2/38.50.mp4"
    flat = load({**SETTINGS, "S3_PATH_PREFIX": "", "S3_KEY_TEMPLATE": "{event_id}"}).settings
    assert clip_key_for(EVENT, "", flat) == "1795455533.500869-mmeox8/clip.m3u8"


@pytest.mark.parametrize("key", ["p/yard/2026-11-24/notes/20261123T173850Z.mp4", "20261123T173850Z.mp4", "p/x.m3u8"])
def test_other_films_are_nobodys(key: str) -> None:
    assert parse_key(key) is None


def test_a_playlist_is_names_and_lengths() -> None:
    parts = [ClipPart("20261123T173850Z", "k", 10.0, 1, 1.0), ClipPart("20261123T173900Z", "k", 4.25, 1, 1.0)]
    assert playlist((part, f"{part.name}.mp4") for part in parts).decode().splitlines() == [
        "#EXTM3U", "#EXTINF:10.000,20261123T173850Z", "20261123T173850Z.mp4", "#EXTINF:4.250,20261123T173900Z", "20261123T173900Z.mp4",
    ]  # fmt: skip


def test_a_clip_is_never_alone() -> None:
    """The snapshot is what the proof and the text state files are about."""
    with pytest.raises(SettingsError, match="S3_ARTIFACTS needs more than clip"):
        load({**SETTINGS, "S3_ARTIFACTS": "clip"})
    assert load({**SETTINGS, "S3_ARTIFACTS": "clip,snapshot"}).settings.picture_kinds == (Kind.SNAPSHOT,)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("S3_CLIP_SEVERITY", "alarm", "S3_CLIP_SEVERITY must be alert or detection, not 'alarm'."),
        ("S3_CLIP_PRE", "an hour", "S3_CLIP_PRE 'an hour' is not a duration"),
        ("S3_CLIP_MAX", "1s", "S3_CLIP_MAX must be at least 10"),
        ("S3_CLIP_RETENTION_DAYS", "90", "S3_CLIP_RETENTION_DAYS=90 is longer than S3_RETENTION_DAYS=30"),
    ],
)
def test_a_wrong_clip_setting_is_told_in_a_sentence(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load({**SETTINGS, "S3_RETENTION_DAYS": "30", name: value})


def test_nothing_is_tagged_unless_a_rule_needs_it() -> None:
    """Some servers refuse tags, and they need a permission of their own."""
    plain = load({**SETTINGS, "S3_ARTIFACTS": "snapshot,clip"}).settings
    assert tags("clip", plain) == tags("live", plain) == tags("snapshot", plain) == {}
    (rule,) = lifecycle_rules(plain)  # unfinished uploads are forgotten, and nothing else
    assert "Expiration" not in rule
    both = load({**SETTINGS, "S3_LIVE_RETENTION_DAYS": "7", "S3_CLIP_RETENTION_DAYS": "30"}).settings
    assert (tags("live", both), tags("clip", both)) == ({"frigate": "live"}, {"frigate": "clip"})
    assert [rule["Expiration"]["Days"] for rule in lifecycle_rules(both)] == [7, 30]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10_000_000)), min_size=1, max_size=50))
def test_a_clip_never_holds_up_a_picture(sends: list[tuple[bool, int]]) -> None:
    """Pictures wait as if there were no clips; clips wait for all that was booked before them."""
    shared, alone = Pacer(1_000_000), Pacer(1_000_000)
    total = 0
    for is_clip, size in sends:
        delay = shared.busy_for(0.0, clip=is_clip)
        shared.book(shared.start(0.0, clip=is_clip), size)
        if is_clip:
            assert delay == pytest.approx(total / 1_000_000)
        else:
            assert delay == pytest.approx(alone.busy_for(0.0))
            alone.book(alone.start(0.0), size)
        total += size
