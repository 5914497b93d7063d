"""Reads a stretch of an object, a chunk at a time: what the status page hands on when a browser cannot reach S3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError

from frigate_s3_mirror.s3 import ObjectStore
from frigate_s3_mirror.s3_errors import classify
from frigate_s3_mirror.stretches import CHUNK, NoSuchStretchError, Stretch, Wanted

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult


class ReadingStore(ObjectStore):
    """The bucket, for readers who want a part."""

    def read(self, key: str, part: Wanted | None) -> Stretch:
        """What was asked for, or the whole object. Raises NoSuchStretchError, or StoreError."""
        try:
            found = obstore.get(self._patient_store, key, options=_options(part))
        except (BaseError, OSError) as error:
            refusal = classify(error, self._bucket)
            if part is not None and (refusal.status == 416 or refusal.code == "InvalidRange"):
                raise NoSuchStretchError from error
            raise refusal from error
        begin, end = found.range
        return Stretch(begin, end, found.meta["size"], self._chunks(found))

    def _chunks(self, found: GetResult) -> Iterator[bytes]:
        try:
            for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket) from error


def _options(part: Wanted | None) -> GetOptions:
    if part is None:
        return {}
    if part.first is None:
        return {"range": {"suffix": part.last or 0}}
    return {"range": {"offset": part.first} if part.last is None else (part.first, part.last + 1)}
