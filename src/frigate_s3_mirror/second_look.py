"""Looks for files that were given up once: a verdict about a file is only as good as the folder was when it was made.

One pass over any number of entries reads each directory once. The service and `verify` ask the same question here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from frigate_s3_mirror.api_files import ApiFiles
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.sources import RECORDING, Files, Listing, Pictures, candidates

GIVEN_UP = (State.ABSENT, State.EXPIRED)
PAGE = 1000


class SecondLook:
    """One pass; used by one thread at a time, for no longer than the pass takes."""

    def __init__(self, pictures: Pictures, recordings: Files) -> None:
        self._pictures, self._recordings = pictures, recordings
        self._listings = [_listing(pictures), _listing(recordings)]

    def finds(self, entry: Entry) -> bool:
        """Return whether there is a file now that the entry could be sent from. Raises FrigateError where it is asked."""
        source = entry.source or ""
        if source.startswith(RECORDING):
            return self._finds_recording(source.removeprefix(RECORDING))
        listing = self._listings[0]
        if listing is None:
            return self._pictures.find(entry.event, entry.kind) is not None
        wanted = (source,) if source and ":" not in source else candidates(entry.event, entry.kind)
        return any(listing.holds(name) for name in wanted)

    def _finds_recording(self, source: str) -> bool:
        listing = self._listings[1]
        if listing is not None:
            return listing.holds(source)
        return isinstance(self._recordings, ApiFiles) and self._recordings.head(source) is not None


def files_that_are_back(
    ledger: Ledger, pictures: Pictures, recordings: Files, concerns: Callable[[Entry], bool] = lambda _: True
) -> Iterator[Entry]:
    """Go through the entries that count as absent or expired and whose file is there. Raises FrigateError.

    Only those are looked for that `concerns` is true of: over Frigate's API each look is a request.
    """
    look = SecondLook(pictures, recordings)
    for state in GIVEN_UP:
        after: Entry | None = None
        while page := ledger.entries_in(state, after, PAGE):
            after = page[-1]
            yield from (entry for entry in page if concerns(entry) and look.finds(entry))


def _listing(files: Files) -> Listing | None:
    folder = files.path("")
    return None if folder is None else Listing(folder)
