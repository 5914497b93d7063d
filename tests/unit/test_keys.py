"""Keys and metadata are pure functions of the event."""

from __future__ import annotations

import re
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.keys import encode_metadata, key_for, object_metadata
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
