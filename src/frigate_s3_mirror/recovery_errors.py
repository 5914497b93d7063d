"""Tells what ails one object from what ails all of them, and words S3's refusals for commands that read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3_errors import StoreError

_TRIES = 3
_PAUSE = 0.3  # seconds before the second try, twice that before the third
_MANY = 8  # objects in a row that are refused alike: it is not the objects
_Answer = TypeVar("_Answer")


@dataclass(slots=True)
class SharedFate:
    """Watches pages of requests: an error that befalls every object is told once, not for each of them."""

    succeeded: int = 0

    def check(self, errors: Sequence[StoreError | None]) -> None:
        """Take in what became of a page; None is a success.

        Raises:
            StoreError: the one that all of them met, when nothing has succeeded so far or they are many.
        """
        refusals = [error for error in errors if error is not None]
        self.succeeded += len(errors) - len(refusals)
        if not refusals or len(refusals) < len(errors):
            return
        first = refusals[0]
        is_shared = len({(error.error_class, error.code, error.status) for error in refusals}) == 1
        is_of_objects = first.error_class is ErrorClass.OBJECT or first.status == 404
        if is_shared and not is_of_objects and (not self.succeeded or len(refusals) >= _MANY):
            raise first


def patiently(request: Callable[[], _Answer]) -> _Answer:
    """Make a request again a few times when it fails for a moment. Raises StoreError."""
    for attempt in range(1, _TRIES):
        try:
            return request()
        except StoreError as error:
            if error.error_class is not ErrorClass.TRANSIENT or error.status == 404:
                raise
            time.sleep(_PAUSE * attempt)
    return request()


def explain(error: StoreError, action: str, option: str) -> str:
    """Return the sentence of a refused request that reads, by the action that a policy must allow."""
    if error.code == "AccessDenied" or (error.status in {401, 403} and not error.code):
        said = error.code or f"status {error.status}"
        return f"S3 says {said}: the key may not do that; allow {action}, see `iam-policy {option}`."
    return str(error)
