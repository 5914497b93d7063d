"""`restore`: snapshots (and clips) out of the bucket, verified, resumable; with the ledger or, on a new machine, with the bucket alone.

What a key or its metadata says is never trusted with a path: names that are not Frigate's are refused, and nothing is
written through a symbolic link below the chosen folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from frigate_s3_mirror.keys import KeyParts, id_time, is_own_key, odd_path, parse_key
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.recovery_errors import SharedFate, explain, patiently
from frigate_s3_mirror.restore_folder import RefusedTargetError, RestoreFolder
from frigate_s3_mirror.runtime.untrusted import RefusedValueError, shown, unix_time
from frigate_s3_mirror.s3 import ObjectStore, Stored, md5_of_etag
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.scope import Scope, check_camera
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.sources import file_digests
from frigate_s3_mirror.storage.metadata import object_facts, sha256_of
from frigate_s3_mirror.tally import Tally

Advance = Callable[[int, int | None], None]
"""Takes how many are done, and of how many (None: not known)."""
_AHEAD = 4  # items in hand for each thread
_CAMERA = re.compile(r"[a-zA-Z0-9_-]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FRIGATE_NAMES = {"jpg": "{camera}-{id}.jpg", "webp": "{camera}-{id}-clean.webp", "png": "{camera}-{id}-clean.png"}
_ID_MARGIN = 3600.0  # seconds that an event's start and the time in its id may differ


@dataclass(frozen=True, slots=True)
class Item:
    """One object to bring back, as far as it is known before the download."""

    key: str
    event_id: str
    camera: str | None
    start_time: float | None
    """Unix seconds; None where only the id and the metadata know it."""
    sha256: str | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """An object that is in the folder now; `was_there` already, or without any checksum to compare it with."""

    was_there: bool = False
    is_verified: bool = True


Result = Written | StoreError | str | None
"""None: not wanted after all; a string: a sentence that says why the object was not written."""


@dataclass(slots=True)
class Restored:
    """What came of it."""

    written: int = 0
    already_there: int = 0
    refused: list[str] = field(default_factory=list)
    """A sentence for each object that was not written."""
    unverified: Tally = field(default_factory=Tally)
    """Keys of objects that were written although nothing says what they should be."""
    foreign: Tally = field(default_factory=Tally)
    """Keys in the bucket that are none of the mirror's."""
    cameras: set[str] = field(default_factory=set)
    """All that were met, wanted or not."""

    @property
    def looked_at(self) -> int:
        """How many objects were in the scope."""
        return self.written + self.already_there + len(self.refused)


class Restoration:
    """Brings the objects of a scope into a folder."""

    def __init__(
        self, settings: Settings, scope: Scope, folder: Path, *, frigate_layout: bool = False, with_clips: bool = False
    ) -> None:
        self._settings, self._scope, self._frigate_layout = settings, scope, frigate_layout
        self._folder = RestoreFolder(folder)
        self._kinds = (Kind.SNAPSHOT, Kind.CLIP) if with_clips else (Kind.SNAPSHOT,)
        self._store = ObjectStore(settings)
        self._restored = Restored()

    def run(self, advance: Advance) -> Restored:
        """Restore all that the scope holds.

        Raises:
            StoreError: the bucket cannot be listed, or refuses every object alike.
            OSError: the folder cannot be written.
            LedgerError: the ledger cannot be read.
            NothingDoneError: no camera of that name is known.
        """
        items, total = self._items()
        restored, done, fate = self._restored, 0, SharedFate()
        with ThreadPoolExecutor(self._settings.upload_threads) as pool:
            while page := list(islice(items, self._settings.upload_threads * _AHEAD)):
                self._folder.make()
                results = list(pool.map(self._bring, page))
                errors = [result if isinstance(result, StoreError) else None for result in results]
                fate.check(errors)
                if not fate.succeeded and all(error is not None and error.status == 404 for error in errors):
                    self._check_bucket()
                for item, result in zip(page, results, strict=True):
                    self._note(item, result)
                done += len(page)
                advance(done, total)
        if total is None:
            check_camera(self._scope, sorted(restored.cameras))
        return restored

    def _check_bucket(self) -> None:
        """A bucket that is not there looks like one without any of the objects. Raises StoreError."""
        try:
            self._store.may_list(self._settings.path_prefix)
        except StoreError as error:
            if error.status == 404:
                raise

    def _note(self, item: Item, result: Result) -> None:
        restored = self._restored
        match result:
            case Written(was_there=True):
                restored.already_there += 1
            case Written():
                restored.written += 1
                if not result.is_verified:
                    restored.unverified.add(item.key)
            case StoreError():
                restored.refused.append(f"{shown(item.key)}: {explain(result, 's3:GetObject', '--with-restore')}")
            case str():
                restored.refused.append(result)

    def _items(self) -> tuple[Iterator[Item], int | None]:
        """From the ledger where there is one: it knows checksums and needs no listing."""
        try:
            with Ledger.of(self._settings).reading() as ledger:
                check_camera(self._scope, ledger.cameras())
                wanted, parameters = self._scope.sql()
                total = sum(ledger.count_uploaded(wanted, parameters, kind) for kind in self._kinds)
        except LedgerError:  # there is none, it is damaged, or it is about another bucket
            return self._listed(), None
        return self._known(), total

    def _known(self) -> Iterator[Item]:
        wanted, parameters = self._scope.sql()
        with Ledger.of(self._settings).reading() as ledger:
            for kind in self._kinds:
                for key, event_id, camera, start_time, sha256, etag in ledger.uploaded_objects(
                    wanted, parameters, kind
                ):
                    yield Item(key, event_id, camera or None, _time(start_time), sha256, etag)

    def _listed(self) -> Iterator[Item]:
        for page in self._store.list(self._settings.path_prefix):
            for found in page:
                parts = parse_key(found.key)
                if parts is None:
                    if not is_own_key(found.key):
                        self._restored.foreign.add(found.key)
                    continue
                if parts.camera is not None:
                    self._restored.cameras.add(parts.camera)
                if parts.kind in self._kinds and self._may_hold(parts):
                    yield Item(found.key, parts.event_id, parts.camera, None, etag=found.etag)

    def _may_hold(self, parts: KeyParts) -> bool:
        """Whether the scope can hold an object, by its name; a template may lack the camera, then its metadata tells."""
        start, scope = id_time(parts.event_id), self._scope
        return (
            (scope.since is None or start >= scope.since - _ID_MARGIN)
            and (scope.until is None or start < scope.until + _ID_MARGIN)
            and (parts.camera is None or scope.holds_camera(parts.camera))
        )

    def _bring(self, item: Item) -> Result:
        try:
            return self._bring_one(item)
        except StoreError as error:
            return error
        except RefusedTargetError as error:
            return f"{shown(item.key)} is not written: {error}."
        except OSError as error:
            return f"{shown(item.key)} cannot be written ({error.strerror})."

    def _bring_one(self, item: Item) -> Result:
        parts = parse_key(item.key)
        odd = odd_path(item.key)
        if parts is None or odd is not None:
            return f"{shown(item.key)} is refused: it {odd or 'is no name of the mirror'}."
        metadata: dict[str, str] = {}
        if item.sha256 is None or item.camera is None or item.start_time is None or self._scope.label is not None:
            metadata = patiently(lambda: self._store.describe(item.key)).metadata
        event = object_facts(parts, metadata).event
        start = event.start_time if item.start_time is None else item.start_time
        camera = item.camera or event.camera
        if not self._scope.holds(start, camera, event.label if self._scope.label is not None else None):
            return None
        target = self._target(item.key, parts, camera)
        if target is None:
            return f"{shown(item.key)} is refused: its names are not Frigate's."
        sha256 = item.sha256 or sha256_of(metadata)
        if self._folder.holds(target):
            return self._compare(item, target, sha256)
        return self._write(item, target, sha256, start)

    def _target(self, key: str, parts: KeyParts, camera: str) -> str | None:
        """Where it goes below the folder, or None for names that could lead elsewhere."""
        *folders, name = key.split("/")
        if not _CAMERA.fullmatch(camera):
            return None
        if parts.kind is Kind.CLIP:
            return f"{camera}/{_date(folders[:-1])}/{parts.event_id}/{name}"
        if self._frigate_layout:
            pattern = _FRIGATE_NAMES.get(parts.ending)
            return pattern.format(camera=camera, id=parts.event_id) if pattern else None
        return f"{camera}/{_date(folders)}/{name}"

    def _compare(self, item: Item, target: str, sha256: str | None) -> Result:
        path = self._folder.path(target)
        found_sha256, found_md5 = file_digests(path)
        expected_md5 = self._md5(item.etag)
        if sha256 is None and expected_md5 is None:
            return f"{path} is there, nothing says whether with the right content, and it is left alone."
        if found_sha256 == sha256 or (sha256 is None and expected_md5 == found_md5):
            return Written(was_there=True)
        return f"{path} is there with other content and is left alone."

    def _write(self, item: Item, target: str, sha256: str | None, start: float) -> Result:
        with self._folder.writing(target, start) as (file, keep):
            hashing = _Md5Writer(file)
            # What is tried again starts over.
            stored, found = patiently(lambda: self._download(item.key, hashing))
            sha256 = sha256 or sha256_of(stored.metadata)
            expected_md5 = self._md5(item.etag) or self._md5(stored.etag)
            found_md5 = hashing.digest.hexdigest()
            if sha256 is not None and sha256 != found:
                return f"{shown(item.key)} is damaged: its SHA-256 is {found[:12]}... instead of {sha256[:12]}...; not written."
            if sha256 is None and expected_md5 is not None and expected_md5 != found_md5:
                return f"{shown(item.key)} is damaged: its MD5 is {found_md5[:12]}... instead of {expected_md5[:12]}...; not written."
            keep()
        return Written(is_verified=sha256 is not None or expected_md5 is not None)

    def _download(self, key: str, hashing: _Md5Writer) -> tuple[Stored, str]:
        hashing.start_over()
        return self._store.download(key, cast(BinaryIO, hashing))

    def _md5(self, etag: str | None) -> str | None:
        """The MD5 that an ETag is; with KMS encryption it looks like one and is none."""
        is_encrypted = (self._settings.sse or "").startswith("aws:kms")
        return None if is_encrypted else md5_of_etag(etag or "")


class _Md5Writer:
    """Writes to a file and hashes what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.md5(usedforsecurity=False)

    def start_over(self) -> None:
        """Forget what was written."""
        self._file.seek(0)
        self._file.truncate()
        self.digest = hashlib.md5(usedforsecurity=False)

    def write(self, chunk: bytes) -> int:
        """Write the chunk."""
        self.digest.update(chunk)
        return self._file.write(chunk)


def _date(folders: list[str]) -> str:
    """The date that a key says, where its layout has one."""
    return folders[-1] if folders and _DATE.fullmatch(folders[-1]) else "undated"


def _time(value: object) -> float | None:
    try:
        return unix_time(value)
    except RefusedValueError:
        return None
