"""`restore`: snapshots (and clips) out of the bucket, verified, resumable; with the ledger or, on a new machine, with the bucket alone.

What a key or its metadata says is never trusted with a path: names that are not Frigate's are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from frigate_s3_mirror.keys import parse_key
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger, time_of_id
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.s3 import ObjectStore, md5_of_etag
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.scope import Scope
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import file_digests

Advance = Callable[[int, int | None], None]
"""Takes how many are done, and of how many (None: not known)."""
_AHEAD = 4  # items in hand for each thread
_CAMERA = re.compile(r"[a-zA-Z0-9_-]+")
_FRIGATE_NAMES = {"jpg": "{camera}-{id}.jpg", "webp": "{camera}-{id}-clean.webp", "png": "{camera}-{id}-clean.png"}


@dataclass(frozen=True, slots=True)
class Item:
    """One object to bring back, as far as it is known before the download."""

    key: str
    event_id: str
    camera: str | None
    start_time: float
    sha256: str | None = None
    etag: str | None = None


@dataclass(slots=True)
class Restored:
    """What came of it."""

    written: int = 0
    already_there: int = 0
    refused: list[str] = field(default_factory=list)
    """A sentence for each object that was not written."""


class Restoration:
    """Brings the objects of a scope into a folder."""

    def __init__(
        self, settings: Settings, scope: Scope, folder: Path, *, frigate_layout: bool = False, with_clips: bool = False
    ) -> None:
        self._settings, self._scope, self._folder, self._frigate_layout = settings, scope, folder, frigate_layout
        self._kinds = (Kind.SNAPSHOT, Kind.CLIP) if with_clips else (Kind.SNAPSHOT,)
        self._store = ObjectStore(settings)

    def run(self, advance: Advance) -> Restored:
        """Raises StoreError when the bucket cannot be listed, OSError when the folder cannot be written, and LedgerError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        items, total = self._items()
        restored = Restored()
        done = 0
        with ThreadPoolExecutor(self._settings.upload_threads) as pool:
            while page := list(islice(items, self._settings.upload_threads * _AHEAD)):
                for result in pool.map(self._bring, page):
                    done += 1
                    if result is True:
                        restored.written += 1
                    elif result is False:
                        restored.already_there += 1
                    elif result is not None:
                        restored.refused.append(result)
                advance(done, total)
        return restored

    def _items(self) -> tuple[Iterator[Item], int | None]:
        """From the ledger where there is one: it knows checksums and needs no listing."""
        wanted, parameters = self._scope.sql()
        try:
            with Ledger.of(self._settings).reading() as ledger:
                total = sum(ledger.count_uploaded(wanted, parameters, kind) for kind in self._kinds)
        except LedgerError:  # there is none, it is damaged, or it is about another bucket
            return self._listed(), None
        return self._known(), total

    def _known(self) -> Iterator[Item]:
        wanted, parameters = self._scope.sql()
        with Ledger.of(self._settings).reading() as ledger:
            for kind in self._kinds:
                for row in ledger.uploaded_objects(wanted, parameters, kind):
                    yield Item(*row)

    def _listed(self) -> Iterator[Item]:
        for page in self._store.list(self._settings.path_prefix):
            for found in page:
                parts = parse_key(found.key)
                if parts is None or parts.kind not in self._kinds:
                    continue
                start = time_of_id(parts.event_id, 0.0)
                # A template of the user's may lack the camera; then the object's metadata tells.
                if self._scope.holds(start, parts.camera if parts.camera is not None else self._scope.camera):
                    yield Item(found.key, parts.event_id, parts.camera, start, etag=found.etag)

    def _bring(self, item: Item) -> bool | str | None:
        """True when written, False when it was there, None when it is not wanted, else a sentence."""
        try:
            return self._bring_one(item)
        except StoreError as error:
            return f"{item.key}: {error}"
        except OSError as error:
            return f"{item.key} cannot be written ({error.strerror})."

    def _bring_one(self, item: Item) -> bool | str | None:
        metadata: dict[str, str] = {}
        if item.sha256 is None or item.camera is None or self._scope.label is not None:
            metadata = self._store.describe(item.key).metadata
            if self._scope.label is not None and not self._scope.wants_label(unquote(metadata.get("label", ""))):
                return None
        camera, sha256 = item.camera or metadata.get("camera"), item.sha256 or metadata.get("sha256")
        target = self._target(item, camera)
        if target is None:
            return f"{item.key} is refused: its names are not Frigate's."
        if target.exists():
            return self._compare(item, target, sha256)
        return self._write(item, target, sha256)

    def _target(self, item: Item, camera: str | None) -> Path | None:
        """Where it goes, or None for names that could lead elsewhere."""
        *folders, name = item.key.split("/")
        parts = parse_key(item.key)
        if camera is None or not _CAMERA.fullmatch(camera) or parts is None:
            return None
        if parts.kind is Kind.CLIP:
            return self._folder / camera / _date(folders[:-1]) / parts.event_id / name
        if self._frigate_layout:
            return self._folder / _FRIGATE_NAMES[parts.ending].format(camera=camera, id=parts.event_id)
        return self._folder / camera / _date(folders) / name

    def _compare(self, item: Item, target: Path, sha256: str | None) -> bool | str:
        found_sha256, found_md5 = file_digests(target)
        claimed = md5_of_etag(item.etag or "")
        if found_sha256 == sha256 or (sha256 is None and claimed == found_md5):
            return False
        return f"{target} is there with other content and is left alone."

    def _write(self, item: Item, target: Path, sha256: str | None) -> bool | str:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.part")
        try:
            with partial.open("wb") as file:
                stored, found = self._store.download(item.key, file)
                file.flush()
                os.fsync(file.fileno())
            wanted = sha256 or stored.metadata.get("sha256")
            if wanted is not None and wanted != found:
                return (
                    f"{item.key} is damaged: its SHA-256 is {found[:12]}... instead of {wanted[:12]}...; not written."
                )
            os.utime(partial, (item.start_time, item.start_time))
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return True


def _date(folders: list[str]) -> str:
    """The date that a key says, where its layout has one."""
    return folders[-1] if folders and re.fullmatch(r"\d{4}-\d\d-\d\d", folders[-1]) else "undated"
