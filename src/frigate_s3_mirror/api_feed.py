"""What Frigate's API is asked, and what of the answers goes into the copy of its tables. Knows no timetable and no thread.

A request that fails raises FrigateError, and nothing is changed: it never means that there is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from frigate_s3_mirror.api_expected import Seen
from frigate_s3_mirror.api_odd_rows import OddRows
from frigate_s3_mirror.api_pages import Page, covered_by
from frigate_s3_mirror.api_rows import EventRow, event_row
from frigate_s3_mirror.events import parse_file_name
from frigate_s3_mirror.frigate_api import FrigateApi
from frigate_s3_mirror.frigate_copy import FrigateCopy

RECENT_SECONDS = 600.0
_MOST_RUNNING = 1000
_LISTS_CONFIGURED_CAMERAS = (0, 17)
_LISTED_NAME = re.compile(r'href="([^"/]+)"')


@dataclass(frozen=True, slots=True)
class News:
    """What a look brought."""

    changed: bool = False
    """Rows are new or different."""
    ready: tuple[str, ...] = ()
    """Ids of those among them whose pictures are whole: they ended, or were made by hand."""
    gone: tuple[str, ...] = ()
    """Ids of events that ran and are not listed as running any more."""


class ApiFeed:
    """Connects Frigate's API with the copy; used by one thread."""

    def __init__(self, api: FrigateApi, copy: FrigateCopy) -> None:
        self.api, self.copy = api, copy
        self._odd_rows = OddRows()
        self.version = (0, 0)
        """Frigate's."""

    def greet(self) -> None:
        """Ask who it is, first of all and when it was away."""
        self.version = self.api.version()
        self.copy.have_reviews(there=self.version >= (0, 14))

    def running(self) -> News:
        """Look at what runs."""
        rows, _ = self._events(in_progress=1, limit=_MOST_RUNNING)
        before = set(self.copy.running())
        news = self._put(rows)
        return News(news.changed, news.ready, tuple(before - {row.id for row in rows}))

    def event(self, event_id: str) -> Seen:
        """Look at one event."""
        answer = self.api.row(f"events/{quote(event_id, safe='')}")
        if answer is None:
            self.copy.forget_event(event_id)
            return Seen.GONE
        row = event_row(answer)
        if row is None:
            return Seen.GONE
        self.copy.put_events([row])
        return Seen.RUNNING if row.end_time is None else Seen.ENDED

    def recent(self, now: float) -> News:
        """Look at what began in the last ten minutes before now or, if that is longer ago, before the newest event.

        So neither a clock that is wrong on one of the two machines nor a pause leaves a gap.
        """
        newest = self.copy.newest_start()
        after = (now if newest is None else min(now, newest)) - RECENT_SECONDS
        page: Page | None = Page()
        all_news = News()
        while page is not None:
            rows, count = self._page(page, after)
            news = self._put(rows)
            all_news = News(all_news.changed or news.changed, all_news.ready + news.ready)
            page = covered_by(page, [row.start_time for row in rows], count).following
        return all_news

    def page(self, page: Page, kept: Set[str] = frozenset()) -> tuple[bool, Page | None]:
        """One page of all events, and those forgotten that Frigate has no more.

        `kept` are ids that Frigate may have although it does not list them. Returns whether anything changed, and the
        next page.
        """
        rows, count = self._page(page)
        covered = covered_by(page, [row.start_time for row in rows], count)
        changed = self._put(rows).changed
        forgotten = self.copy.keep_events({row.id for row in rows} | kept, covered.after, covered.before)
        return changed or forgotten > 0, covered.following

    def look_anew(self) -> None:
        """Odd rows may have been mended."""
        self._odd_rows.forget()

    def ids_with_files(self) -> frozenset[str]:
        """The ids in the names of the clips folder; none where its listing is not to be had.

        From 0.17 on Frigate lists events of the cameras of its present configuration alone; the files of others are
        still there, and their rows can be asked for by id.
        """
        page = self.api.listing("/clips/") if self.version >= _LISTS_CONFIGURED_CAMERAS else None
        names = (unquote(name) for name in _LISTED_NAME.findall((page or b"").decode(errors="replace")))
        return frozenset(parts.event_id for parts in map(parse_file_name, names) if parts is not None)

    def _page(self, page: Page, after: float | None = None) -> tuple[list[EventRow], int]:
        return self._events(limit=page.limit, before=page.before, after=after)

    def _events(
        self, *, limit: int, before: float | None = None, after: float | None = None, **query: object
    ) -> tuple[list[EventRow], int]:
        """The events, and how many rows were sent: one that cannot be understood must not look like the end."""

        def ask(most: int, upper: float | None, lower: float | None) -> list[dict[str, Any]]:
            bounds = {name: repr(time) for name, time in (("before", upper), ("after", lower)) if time is not None}
            found = self.api.rows("events", include_thumbnails=0, limit=most, **bounds, **query)
            if found is None:
                raise self.api.no_frigate()
            return found

        answer = self._odd_rows.listed(ask, limit, before, after)
        return [row for row in map(event_row, answer) if row is not None], len(answer)

    def _put(self, rows: Sequence[EventRow]) -> News:
        changed = set(self.copy.put_events(rows))
        ready = (row.id for row in rows if row.id in changed and (row.end_time is not None or row.has_file_at_once))
        return News(bool(changed), tuple(ready))
