"""A picture is whole when its own end mark is there: real ones of Frigate are, and broken off ones are not."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.demo.pictures import picture
from frigate_s3_mirror.upload.wholeness import EDGE_BYTES, looks_whole

RECORDINGS = Path(
    os.environ.get("FRIGATE_RECORDINGS", Path(__file__).resolve().parents[3] / "shared" / "frigate-recordings")
)


def is_whole(content: bytes) -> bool:
    return looks_whole(content[:EDGE_BYTES], content[-EDGE_BYTES:], len(content))


@cache
def drawn(ending: str) -> bytes:
    return picture("yard", "person", datetime(2026, 11, 25, tzinfo=UTC), ending, annotated=True)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_a_drawn_picture_is_whole(ending: str) -> None:
    assert is_whole(drawn(ending))
    assert is_whole(drawn(ending) + b"\0" * 100)  # padding behind the end


@given(st.sampled_from(["jpg", "png", "webp"]), st.data())
def test_a_picture_that_breaks_off_anywhere_is_not(ending: str, data: st.DataObject) -> None:
    content = drawn(ending)
    assert not is_whole(content[: data.draw(st.integers(0, len(content) - 3))])


@given(st.binary(min_size=9))
def test_what_is_no_picture_passes(content: bytes) -> None:
    """Bits are bits: a segment, a document, or something that only bears a picture's name."""
    if not content.startswith((b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF")):
        assert is_whole(content)


@pytest.mark.parametrize(
    "begun",
    [
        b"", b"\xff", b"\x89", b"\x89PNG", b"\x89PNG\r\n\x1a", b"R", b"RIF", b"RIFF", b"RIFF\4\0\0", b"RIFF\1\0\0\0", b"RIFF\4\0\0\0WEB",
        b"\xff\xd8", b"\x89PNG\r\n\x1a\n",
    ],
)  # fmt: skip
def test_the_first_bytes_of_a_picture_are_no_picture(begun: bytes) -> None:
    """A file that was just begun."""
    assert not is_whole(begun)


@pytest.mark.parametrize("content", [b"RIFF\4\0\0\0WEBP", b"RIFF\0\0\0\0", b"RIFF\4\0\0\0WEBP\0", b"RIFX", b"\x89PNX", b"{", b"\xff\xd9", b"RIXF\7\7\7"])  # fmt: skip
def test_the_least_that_is_whole_or_no_picture(content: bytes) -> None:
    assert is_whole(content)
    assert EDGE_BYTES == 1024


def test_all_pictures_of_real_frigates_are_whole() -> None:
    """Snapshots, clean copies and thumbnails of 0.14, 0.17 and 0.18."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings of real Frigate runs at {RECORDINGS} (FRIGATE_RECORDINGS names another folder)")
    pictures = [path for path in RECORDINGS.rglob("*") if path.suffix in {".jpg", ".png", ".webp"}]
    assert len(pictures) > 100
    assert [path for path in pictures if not is_whole(path.read_bytes())] == []
