"""Who is to blame for a refusal: the object that was sent, or the bucket and all that stands before it. Pure.

A server says the same 400 or 403 to a picture that its firewall dislikes and to a client that speaks http to a TLS port. What
tells them apart is how others fare meanwhile, so this remembers who was refused and who was taken.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from frigate_s3_mirror.retry import ErrorClass

PATIENCE_SECONDS = 300.0
"""How long an object that is forbidden (401, 403) while others pass is tried without counting: somebody may mend a rule."""
_MOST_REMEMBERED = 10_000
_OF_THE_OBJECT = frozenset({"KeyTooLong", "KeyTooLongError", "MetadataTooLarge"})
"""Codes that can be meant of nothing but this object."""
_FORBIDDEN = frozenset({401, 403})
_OF_THE_KEY = frozenset(
    {
        "AccountProblem",
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidBucketName",
        "InvalidToken",
        "NoSuchBucket",
        "NotSignedUp",
        "PermanentRedirect",
        "QuotaExceeded",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
"""Codes of a 401 or 403 that can be meant of nothing but the key, the account or the bucket."""


class Refusal(Protocol):
    """What S3 said; an s3_errors.StoreError."""

    @property
    def error_class(self) -> ErrorClass:
        """What the answer means by itself."""

    @property
    def status(self) -> int | None:
        """The HTTP status, None where it was not S3 that refused."""

    @property
    def code(self) -> str:
        """S3's `<Code>`, or ""."""

    @property
    def is_ambiguous(self) -> bool:
        """Whether the answer alone does not tell the object's fault from that of all."""


class Culprit(Enum):
    """Whose fault a refusal is, as far as is known by now."""

    OBJECT = auto()
    """This object is refused while others pass: count it."""
    OBJECT_FORBIDDEN = auto()
    """It is forbidden while others pass: it waits by itself, not counted yet."""
    BUCKET = auto()
    """Everything is refused: nothing is counted, and a person must act."""
    NOBODY_YET = auto()
    """Nothing else was taken or refused since: it waits by itself, not counted."""


@dataclass(slots=True)
class Refusals:
    """Remembers who was refused since when, and what was taken. All times are monotonic seconds.

    An object is whatever identifies it. Not for several threads at a time.
    """

    _first: dict[Hashable, float] = field(default_factory=dict)
    """When each object was refused first."""
    _in_a_row: dict[Hashable, int] = field(default_factory=dict)
    """How often each was refused since an upload was taken last."""
    _taken_at: float = float("-inf")
    _alive_at: float = float("-inf")

    def taken(self, who: Hashable, now: float) -> None:
        """Note that S3 took this upload."""
        self.forget(who)
        self._in_a_row.clear()
        self._taken_at = now

    def alive(self, now: float) -> None:
        """Note that S3 took something that is no upload: good evidence against one object, weak evidence against many."""
        self._alive_at = now

    def forget(self, who: Hashable) -> None:
        """This object's fate is decided."""
        self._first.pop(who, None)
        self._in_a_row.pop(who, None)

    def refused(self, who: Hashable, refusal: Refusal, now: float, *, in_flight: int) -> Culprit:
        """Note a refusal and return who is to blame; `in_flight` is how many others have no answer yet."""
        error_class, status, code = refusal.error_class, refusal.status, refusal.code
        if error_class is ErrorClass.OBJECT and (status in {None, 412} or code in _OF_THE_OBJECT):
            return Culprit.OBJECT
        is_weighed = error_class is ErrorClass.OBJECT or refusal.is_ambiguous
        if not is_weighed and (status not in _FORBIDDEN or code in _OF_THE_KEY):
            return Culprit.BUCKET
        first = self._first.setdefault(who, now)
        self._in_a_row[who] = self._in_a_row.get(who, 0) + 1
        self._keep_bounded()
        if self._taken_at > first or (self._alive_at > first and len(self._in_a_row) == 1):
            is_forbidden = not is_weighed and now - first < PATIENCE_SECONDS
            return Culprit.OBJECT_FORBIDDEN if is_forbidden else Culprit.OBJECT
        return Culprit.BUCKET if self._is_everyone(in_flight, is_forbidden=not is_weighed) else Culprit.NOBODY_YET

    def _is_everyone(self, in_flight: int, *, is_forbidden: bool) -> bool:
        """Whether all that could have been taken were refused. A forbidden one alone counts when it is so twice."""
        others = len(self._in_a_row) - 1
        if others == 0:
            return is_forbidden and in_flight == 0 and max(self._in_a_row.values()) > 1
        return others >= in_flight

    def _keep_bounded(self) -> None:
        for known in (self._first, self._in_a_row):
            if len(known) > _MOST_REMEMBERED:
                del known[next(iter(known))]
