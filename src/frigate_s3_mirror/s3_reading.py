"""Reads a stretch of an object, a chunk at a time: what the status page hands on when a browser cannot reach S3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError

from frigate_s3_mirror.s3 import ObjectStore, check_key
from frigate_s3_mirror.s3_errors import Operation, classify
from frigate_s3_mirror.stretches import CHUNK, NoSuchStretchError, Stretch, Wanted, cut

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult

_NO_PARTS = "non-partial response"  # obstore's words for a 200 where a 206 was due


class ReadingStore(ObjectStore):
    """The bucket, for readers who want a part."""

    _gives_parts = True

    def read(self, key: str, part: Wanted | None) -> Stretch:
        """What was asked for, or the whole object. Raises NoSuchStretchError, or StoreError."""
        check_key(key)
        if self._gives_parts or part is None:
            try:
                return self._read(key, part)
            except (BaseError, OSError) as error:
                if part is None or _NO_PARTS not in str(error):
                    raise self._refusal(error, part) from error
                self._gives_parts = False
        return self._out_of_the_whole(key, part)

    def _out_of_the_whole(self, key: str, part: Wanted) -> Stretch:
        """For servers that call a part 200, which obstore takes for the whole and refuses (rclone 1.75 does)."""
        try:
            whole = self._read(key, None)
        except (BaseError, OSError) as error:
            raise self._refusal(error, part) from error
        begin, end = part.within(whole.size)
        return Stretch(begin, end, whole.size, cut(whole.chunks, begin, end))

    def _read(self, key: str, part: Wanted | None) -> Stretch:
        found = obstore.get(self._patient_store, key, options=_options(part))
        begin, end = found.range
        return Stretch(begin, end, found.meta["size"], self._chunks(found))

    def _chunks(self, found: GetResult) -> Iterator[bytes]:
        try:
            for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)
        except (BaseError, OSError) as error:
            raise classify(error, self._bucket, Operation.GET) from error

    def _refusal(self, error: Exception, part: Wanted | None) -> Exception:
        refusal = classify(error, self._bucket, Operation.GET)
        return NoSuchStretchError() if part is not None and refusal.status == 416 else refusal


def _options(part: Wanted | None) -> GetOptions:
    if part is None:
        return {}
    if part.first is None:
        return {"range": {"suffix": part.last or 0}}
    return {"range": {"offset": part.first} if part.last is None else (part.first, part.last + 1)}
