"""Files that were given up are looked for again: all of them, at the price of one look at each folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.second_look import SecondLook, files_that_are_back
from frigate_s3_mirror.sources import RECORDING, DiskFiles, DiskPictures, Listing

EVENT = Event("1.5-abcdef", "yard", "car", None, 1.0, 2.0, True, (), None, False)


def entry(number: int, state: State, source: str | None = None, kind: Kind = Kind.SNAPSHOT) -> Entry:
    event = replace(EVENT, id=f"{number}.5-abcdef")
    part = "20261124T021051Z" if kind is Kind.CLIP else ""
    return Entry(0, event, kind, source, None, state, float(number), part=part)


def test_every_entry_is_asked_about_however_many_there_are(ledger: Ledger, tmp_path: Path) -> None:
    """Three pages of absent ones, and the oldest and the newest are back; those of other states are no concern."""
    for n in (0, 1, 2499, 5000):
        (tmp_path / f"yard-{n}.5-abcdef.jpg").touch()
    ledger.record([entry(n, State.ABSENT) for n in range(2500)], 0.0)
    ledger.record(
        [entry(5000, State.EXPIRED, "yard-5000.5-abcdef.jpg"), entry(1 << 20, State.EXPIRED, "yard-x.jpg")], 0.0
    )
    ledger.record([entry(6000, State.FAILED)], 0.0)
    disk = DiskPictures(tmp_path)
    back = [found.event.id for found in files_that_are_back(ledger, disk, DiskFiles(tmp_path))]
    assert back == ["2499.5-abcdef", "1.5-abcdef", "0.5-abcdef", "5000.5-abcdef"]


@pytest.mark.parametrize(
    ("given_up", "files", "is_there"),
    [
        (entry(1, State.ABSENT), ["clips/yard-1.5-abcdef.jpg"], True),
        (entry(1, State.ABSENT), ["clips/yard-1.5-abcdef-clean.webp"], True),
        (entry(1, State.ABSENT), ["clips/door-1.5-abcdef.jpg"], False),
        (entry(1, State.ABSENT, kind=Kind.CLEAN), ["clips/yard-1.5-abcdef.jpg"], False),
        (entry(1, State.ABSENT, kind=Kind.THUMBNAIL), ["clips/thumbs/yard/1.5-abcdef.webp"], True),
        (entry(1, State.EXPIRED, "yard-1.5-abcdef.jpg"), ["clips/yard-1.5-abcdef-clean.webp"], False),
        (entry(1, State.EXPIRED, f"{RECORDING}2026-11-24/02/yard/10.51.mp4", Kind.CLIP), ["rec/2026-11-24/02/yard/10.51.mp4"], True),
        (entry(1, State.EXPIRED, f"{RECORDING}2026-11-24/02/yard/10.51.mp4", Kind.CLIP), [], False),
    ],
)  # fmt: skip
def test_where_a_file_is_looked_for(given_up: Entry, files: list[str], is_there: bool, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    look = SecondLook(DiskPictures(tmp_path / "clips"), DiskFiles(tmp_path / "rec"))
    assert look.finds(given_up) is is_there


def test_pages_go_on_where_many_happened_at_once(ledger: Ledger, tmp_path: Path) -> None:
    """Restored from a backup, or imported: a thousand entries and more of the same second."""
    given_up = [replace(entry(n, State.ABSENT), happened_at=7.0) for n in range(2100)]
    ledger.record(given_up, 0.0)
    for n in range(2100):
        (tmp_path / f"yard-{n}.5-abcdef.jpg").touch()
    back = list(files_that_are_back(ledger, DiskPictures(tmp_path), DiskFiles(tmp_path)))
    assert len({found.event.id for found in back}) == len(back) == 2100


def test_a_pass_reads_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand look-ups, one listing."""
    listed: list[str] = []
    real: Callable[[str], list[str]] = os.listdir

    def counted(path: str) -> list[str]:
        listed.append(path)
        return real(path)

    monkeypatch.setattr(os, "listdir", counted)
    listing = Listing(tmp_path)
    assert not any(listing.holds(f"yard-{n}.jpg") for n in range(1000))
    assert not any(listing.holds(f"thumbs/yard/{n}.webp") for n in range(1000))
    assert listed == [f"{tmp_path}/", f"{tmp_path}/thumbs/yard"]


def test_sixty_thousand_take_a_moment(tmp_path: Path) -> None:
    """Beside many files; a look and a listing for each would take an hour."""
    for n in range(2000):
        (tmp_path / f"yard-{n}.5-others.jpg").touch()
    look, given_up = SecondLook(DiskPictures(tmp_path), DiskFiles(tmp_path)), entry(1, State.ABSENT)
    begun = time.process_time()
    assert not any(look.finds(given_up) for _ in range(60_000))
    assert time.process_time() - begun < 3
