"""Keys and metadata are pure functions of the event."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.keys import (
    CONTENT_TYPES,
    PLAYLIST_NAME,
    KeyParts,
    clip_key_for,
    encode_metadata,
    id_time,
    is_own_key,
    key_for,
    live_key_for,
    local_time,
    metadata_document,
    object_metadata,
    odd_path,
    own_key,
    parse_key,
    recording_path,
    segment_name,
    site_name,
)
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.settings import Settings

REQUIRED = {"S3_BUCKET": "bucket", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", "S3_KEY_TIMEZONE": "UTC"}


def settings(**more: str) -> Settings:
    return load({**REQUIRED, **more}).settings


def event(
    camera: str = "front_door", event_id: str = "abc123", start: float = 1705329022.0, label: str = "person"
) -> Event:
    return Event(event_id, camera, label, None, start, start + 5, True, ("yard",), 0.9, False)


cameras = st.from_regex(r"[a-zA-Z0-9_-]{1,40}", fullmatch=True)
event_ids = st.from_regex(r"[0-9]{9,10}\.[0-9]{1,6}-[a-z0-9]{6}", fullmatch=True)


def test_the_readme_example_comes_out_to_the_letter() -> None:
    """{prefix}/{camera}/{date}/{event-id}-{timestamp}.jpg, with the event's start."""
    key = key_for(event(), Kind.SNAPSHOT, "jpg", settings(S3_PATH_PREFIX="frigate/snapshots"))
    assert key == "frigate/snapshots/front_door/2024-01-15/abc123-20240115_143022.jpg"


def test_without_a_prefix_a_key_starts_with_the_camera() -> None:
    """No slash stands at the front."""
    assert key_for(event(), Kind.SNAPSHOT, "webp", settings()) == "front_door/2024-01-15/abc123-20240115_143022.webp"


def test_the_time_zone_moves_date_and_timestamp() -> None:
    """22:30 UTC is tomorrow in Tokyo."""
    key = key_for(event(start=1705357800.0), Kind.SNAPSHOT, "jpg", settings(S3_KEY_TIMEZONE="Asia/Tokyo"))
    assert key == "front_door/2024-01-16/abc123-20240116_073000.jpg"


@given(cameras, event_ids, st.floats(1e9, 4e9), st.text(max_size=50))
def test_every_key_is_safe_and_belongs_to_one_event(camera: str, event_id: str, start: float, label: str) -> None:
    """Whatever the event, the key has no empty, dotted or unprintable part, and holds the id."""
    template = settings(S3_KEY_TEMPLATE="{prefix}/{label}/{camera}/{date}/{event_id}")
    for chosen in (settings(), template):
        key = key_for(event(camera, event_id, start, label), Kind.SNAPSHOT, "jpg", chosen)
        assert event_id in key
        assert all(part and part not in {".", ".."} for part in key.split("/"))
        assert key.isprintable()
        assert key.isascii()


@given(cameras, event_ids)
def test_kinds_of_one_event_never_share_a_key(camera: str, event_id: str) -> None:
    """Snapshot, clean copy, thumbnail and document lie side by side."""
    endings = [(Kind.SNAPSHOT, "webp"), (Kind.CLEAN, "webp"), (Kind.THUMBNAIL, "webp"), (Kind.METADATA, "json")]
    keys = {key_for(event(camera, event_id), kind, ending, settings()) for kind, ending in endings}
    assert len(keys) == len(endings)


@given(st.text(max_size=21))
def test_metadata_values_are_header_safe_and_reversible(value: str) -> None:
    """Printable ASCII only; percent-decoding gives the text back (but for blanks at its ends)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    encoded = encode_metadata(value)
    assert re.fullmatch(r"[\x20-\x7e]*", encoded)
    assert unquote(encoded).strip() == value.strip(" ") or unquote(encoded) == value.strip(" ")


def test_absent_facts_leave_no_header() -> None:
    """No sub label, no header for it."""
    metadata = object_metadata(event(), "0" * 64)
    assert "sub-label" not in metadata
    assert metadata["zones"] == "yard"
    assert metadata["end"] == "1705329027.000000"


def test_the_types_that_objects_are_served_with() -> None:
    """Browsers and players go by them."""
    assert CONTENT_TYPES == {
        "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "json": "application/json",
        "mp4": "video/mp4", "m3u8": "audio/x-mpegurl",
    }  # fmt: skip
    assert PLAYLIST_NAME == "clip.m3u8"


def test_every_field_of_the_template() -> None:
    """As docs/configuration.md lists them."""
    template = "{prefix}/{camera}/{label}/{event_id}/{date}/{timestamp}/{time}/{year}/{month}/{day}/{hour}"
    made = settings(S3_KEY_TEMPLATE=template, S3_PATH_PREFIX="p")
    key = key_for(event(start=1705329062.0), Kind.SNAPSHOT, "jpg", made)
    assert key == "p/front_door/person/abc123/2024-01-15/20240115_143102/143102/2024/01/15/14.jpg"


def test_kinds_are_told_by_their_suffix() -> None:
    """So that a bucket can be read by people, and by `rebuild`."""
    names = [(Kind.SNAPSHOT, "jpg", ".jpg"), (Kind.CLEAN, "png", "-clean.png"), (Kind.THUMBNAIL, "webp", "-thumb.webp"), (Kind.METADATA, "json", ".json")]  # fmt: skip
    for kind, ending, tail in names:
        assert key_for(event(), kind, ending, settings()) == f"front_door/2024-01-15/abc123-20240115_143022{tail}"
    assert live_key_for(event(), 3, "jpg", settings()) == "front_door/2024-01-15/abc123-20240115_143022-live-3.jpg"
    assert clip_key_for(event(), "", settings()) == "front_door/2024-01-15/abc123/clip.m3u8"
    assert clip_key_for(event(), "x", settings(S3_KEY_TEMPLATE="{event_id}")) == "abc123/x.mp4"


@pytest.mark.parametrize(("label", "folder"), [("Hund & Katze", "Hund %26 Katze"), ("a/b", "a%2Fb"), ("", "unlabelled"), ("..", None), ("\ud800", "%5Cud800")])  # fmt: skip
def test_labels_in_keys(label: str, folder: str | None) -> None:
    """Quoted, without a slash; one of dots alone, which leads elsewhere, is left out."""
    key = key_for(event(label=label), Kind.SNAPSHOT, "jpg", settings(S3_KEY_TEMPLATE="{label}/{event_id}"))
    assert key == "/".join(filter(None, (folder, "abc123.jpg")))


def test_a_long_label_is_cut_between_characters() -> None:
    """256 bytes, and no half of a letter."""
    made = settings(S3_KEY_TEMPLATE="{label}/{event_id}")
    assert key_for(event(label="a" * 300), Kind.SNAPSHOT, "jpg", made) == "a" * 256 + "/abc123.jpg"
    assert key_for(event(label="a" * 256), Kind.SNAPSHOT, "jpg", made) == "a" * 256 + "/abc123.jpg"
    for letter, before, count in (
        ("é", 0, 42),
        ("é", 1, 42),
        ("é", 2, 42),
        ("é", 4, 42),
        ("é", 5, 41),
        ("€", 0, 28),
        ("€", 5, 27),
        ("€", 4, 28),
    ):
        folder = key_for(event(label="a" * before + letter * 99), Kind.SNAPSHOT, "jpg", made).partition("/")[0]
        assert unquote(folder, errors="strict") == "a" * before + letter * count


def test_segments_bear_utc_and_the_whole_second() -> None:
    assert segment_name(1795455530.9) == "20261123T173850Z"
    assert recording_path("yard", "20261123T173850Z") == "2026-11-23/17/yard/38.50.mp4"
    assert local_time(0.0, "Asia/Tokyo").isoformat() == "1970-01-01T09:00:00+09:00"


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("yard/2024-01-15/{}.jpg", (Kind.SNAPSHOT, "jpg", "yard")), ("yard/2024-01-15/{}-clean.png", (Kind.CLEAN, "png", "yard")),
        ("a/yard/2024-01-15/{}-thumb.webp", (Kind.THUMBNAIL, "webp", "yard")), ("yard/2024-01-15/{}.json", (Kind.METADATA, "json", "yard")),
        ("yard/2024-01-15/{}-20240115_143022-clean.webp", (Kind.CLEAN, "webp", "yard")), ("{}.jpg", (Kind.SNAPSHOT, "jpg", None)),
        ("2024-01-15/{}.jpg", (Kind.SNAPSHOT, "jpg", None)), ("yard/15/{}.jpg", (Kind.SNAPSHOT, "jpg", None)),
        (".mirror/{}.jpg", None), ("yard/2024-01-15/{}-live-1.jpg", None), ("yard/2024-01-15/{}.mp4", None), ("{}/x.m3u8", None),
        ("yard/2024-01-15/{}/clip.m3u8", (Kind.CLIP, "m3u8", "yard")), ("{}/clip.m3u8", (Kind.CLIP, "m3u8", None)), ("clip.m3u8", None),
        ("yard/2024-01-15/{}/20240115T143022Z.mp4", (Kind.CLIP, "mp4", "yard", "20240115T143022Z")), ("{}/20240115T143022Z.jpg", None),
        ("{}/20240115T143022.mp4", None), ("{}/20240115T143022Z.m3u8", None), ("x/20240115T143022Z.mp4", None),
    ],
)  # fmt: skip
def test_what_a_key_says(key: str, parts: tuple[Kind, str, str | None] | None) -> None:
    """What was not made by the mirror says nothing."""
    event_id = "1705329022.5-abc123"
    assert parse_key(key.format(event_id)) == (None if parts is None else KeyParts(event_id, *parts))
    assert id_time(event_id) == 1705329022.5


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("a/b.jpg", None), ("a" * 1024, None), ("a" * 1025, "is longer than 1024 bytes"), ("é" * 513, "is longer than 1024 bytes"),
        ("a b/ .jpg", None), ("a\x1f", "holds control characters"), ("a\x7fb", "holds control characters"), ("a\x80", None),
        ("a//b", "has an empty path segment"), ("/a", "has an empty path segment"), ("a/", "has an empty path segment"),
        ("a/./b", "has a path segment of dots"), ("../b", "has a path segment of dots"), (".../b", None), ("\ud800", "is no valid text"),
    ],
)  # fmt: skip
def test_keys_that_no_client_can_be_trusted_with(key: str, why: str | None) -> None:
    assert odd_path(key) == why


def test_the_mirrors_own_objects() -> None:
    """They are no snapshots of anybody, wherever they lie."""
    made = settings(S3_PATH_PREFIX="p", S3_SITE="Max's house / 2")
    assert own_key(made, "a.json") == "p/.mirror/a.json"
    assert own_key(settings(), "a.json") == ".mirror/a.json"
    assert site_name(made) == "Max-s-house---2"
    for key, is_own in ((".mirror/a", True), ("p/.mirror/a", True), ("a/x-live-12.webp", True), ("a/x-live-.jpg", False), ("p/a.mirror/b", False)):  # fmt: skip
        assert is_own_key(key) is is_own


def test_the_metadata_of_an_object_and_its_document() -> None:
    """Names that others read: rebuild, and whoever looks into the bucket."""
    full = Event("1.5-abc123", "yard", "Katze", "Mimi", 1.5, 2.25, True, ("a", "b"), 0.75, False)
    assert object_metadata(full, "s") == {
        "event-id": "1.5-abc123", "camera": "yard", "label": "Katze", "sub-label": "Mimi", "score": "0.75", "zones": "a,b",
        "start": "1.500000", "end": "2.250000", "sha256": "s",
    }  # fmt: skip
    least = Event("1.5-abc123", "yard", "é\ud800", None, 1.5, None, True, (), None, False)
    assert object_metadata(least, "s") == {
        "event-id": "1.5-abc123", "camera": "yard", "label": "%C3%A9\\ud800", "start": "1.500000", "sha256": "s"
    }  # fmt: skip
    assert json.loads(metadata_document(full)) == {
        "id": "1.5-abc123", "camera": "yard", "label": "Katze", "sub_label": "Mimi", "score": 0.75, "zones": ["a", "b"],
        "start_time": 1.5, "end_time": 2.25,
    }  # fmt: skip
    assert metadata_document(least).endswith(b"\n}\n")
    assert "é\\ud800".encode() in metadata_document(least)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (" a b ", "a b"), ("100%", "100%25"), ("a\nb", "a%0Ab"), ("é", "%C3%A9"), ("a" * 300, "a" * 256), ("%" * 99, "%25" * 85),
        ("é" * 99, "%C3%A9" * 42), ("~!/?", "~!/?"), (" é ", "%C3%A9"), ("\x7f", "%7F"),
    ],
)  # fmt: skip
def test_how_a_header_carries_a_value(value: str, encoded: str) -> None:
    """At most 256 bytes, and nothing that a header cannot hold."""
    assert encode_metadata(value) == encoded
