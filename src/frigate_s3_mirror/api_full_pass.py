"""One pass over all that Frigate has, a request at a time, so that what is urgent can come in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from frigate_s3_mirror.api_clip_feed import ApiClipFeed
from frigate_s3_mirror.api_expected import Seen
from frigate_s3_mirror.api_feed import ApiFeed
from frigate_s3_mirror.api_pages import Page
from frigate_s3_mirror.clock import Clock
from frigate_s3_mirror.frigate_api import ApiError, RowsUntoldError
from frigate_s3_mirror.logs import logger

_MOST_UNLISTED = 2000
"""Events that a pass asks for one by one, the newest first; the next pass goes on."""


class FullPass:
    """Events first, then what belongs to clips; used by one thread."""

    def __init__(self, feed: ApiFeed, clips: ApiClipFeed | None, clock: Clock) -> None:
        self._feed, self._clips, self._clock = feed, clips, clock
        self._steps: Iterator[None] | None = None
        self._nobodys: set[str] = set()
        """Ids in names of files of which Frigate has no row; asked for once."""
        self.has_seen_events = False
        """Whether the pass is through with all events."""
        self.has_changed = False
        """Whether it found what the copy had not, or had otherwise."""

    def step(self) -> bool:
        """Go one request further, from the start after a failure; returns whether the pass is over.

        Raises FrigateError.
        """
        if self._steps is None:
            self._steps = self._pass()
        steps, self._steps = self._steps, None
        for _ in steps:
            self._steps = steps
            return False
        return True

    def begin_again(self) -> None:
        """What was seen so far may be out of date."""
        self._steps = None
        self.has_seen_events = self.has_changed = False

    def _pass(self) -> Iterator[None]:
        self.has_changed = self.has_seen_events = False
        self._feed.look_anew()
        with_files = self._feed.ids_with_files()
        page: Page | None = Page()
        while page is not None:
            changed, page = self._feed.page(page, with_files)
            self.has_changed = self.has_changed or changed
            if page is not None:
                yield
        yield from self._unlisted(with_files)
        self.has_seen_events = True
        yield
        if self._clips is not None:
            yield from self._clip_rows(self._clips)

    def _unlisted(self, with_files: frozenset[str]) -> Iterator[None]:
        """Ask by id for events that have files and are not listed: those of cameras that were renamed or removed."""
        known = {row[0] for row in self._feed.copy.ask("SELECT id FROM event")}
        found = 0
        for event_id in sorted(with_files - known - self._nobodys, reverse=True)[:_MOST_UNLISTED]:
            match self._seen(event_id):
                case Seen.GONE | Seen.UNKNOWN:
                    self._nobodys.add(event_id)
                case _:
                    found += 1
                    self.has_changed = True
            yield
        self._nobodys &= with_files
        if found:
            logger().info(
                "S3 snapshot mirror: found %d events that Frigate no longer lists (camera renamed or removed)", found
            )

    def _seen(self, event_id: str) -> Seen:
        """A row over which Frigate itself stumbles is told of once, and holds up no other."""
        try:
            return self._feed.event(event_id)
        except RowsUntoldError as error:
            logger().warning("S3 snapshot mirror: event %s is left out: %s", event_id, error)
            return Seen.UNKNOWN

    def _clip_rows(self, clips: ApiClipFeed) -> Iterator[None]:
        for piece in clips.review_pieces(self._feed.version):
            self._try(clips.look_at_reviews, piece, self._feed.version)
            yield
        for span in clips.all_spans(self._clock.now()):
            self._try(clips.look, span)
            yield
        clips.tidy()

    def _try(self, look: Callable[..., bool], *arguments: object) -> None:
        """Recordings of one camera that are refused hold up nothing else."""
        try:
            self.has_changed = look(*arguments) or self.has_changed
        except ApiError as error:
            logger().warning("S3 clips: %s Trying again within an hour.", error)
