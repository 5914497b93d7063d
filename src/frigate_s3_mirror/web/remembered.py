"""Answers that are kept for a while: the longer one took to find, the longer it may be looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
_SHARE = 0.05
"""Most of one core that looking again and again may take."""
_SHORTEST = 1.0  # seconds; several readers in the same second share a look


class Remembered(Generic[Value]):
    """One answer, found anew when it is too old."""

    def __init__(self, find: Callable[[], Value]) -> None:
        self._find = find
        self._value: Value | None = None
        self._until = 0.0

    def __call__(self) -> Value:
        """The answer; raises what finding it raises."""
        if self._value is None or time.monotonic() >= self._until:
            began = time.monotonic()
            self._value = self._find()
            took = time.monotonic() - began
            self._until = began + max(_SHORTEST, took / _SHARE)
        return self._value
