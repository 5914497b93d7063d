"""Trouble that many meet at once and that is told for all of them: when it begins, and now and then. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

TELL_AGAIN_SECONDS = 600.0
_FORGOTTEN_AFTER = 900.0  # seconds; who met it tries again sooner than that, or never will


@dataclass(slots=True)
class Trouble:
    """What is wrong for a while: for all, or for some alone. All times are monotonic seconds."""

    _of_all: str | None = None
    _of_some: dict[Hashable, tuple[str, float]] = field(default_factory=dict)
    """Sentence and time of those whose trouble is their own."""
    _told: dict[str, float] = field(default_factory=dict)

    @property
    def sentence(self) -> str | None:
        """What is wrong now, None while all is well."""
        if self._of_all is not None or not self._of_some:
            return self._of_all
        others = len(self._of_some) - 1
        first = next(iter(tuple(self._of_some.values())))[0]
        return f"{first} {others} more {'waits' if others == 1 else 'wait'} for the like." if others else first

    def met(self, sentence: str, now: float, *, who: Hashable = None, kind: str | None = None) -> bool:
        """Somebody met it; returns whether that is to be told.

        What comes and goes, or is met by some and not by others, is not told each time. With `who`, the trouble is theirs
        alone and lasts until it is over for them; what is of the same `kind` is told once for all of them.
        """
        if who is None:
            self._of_all = sentence
        else:
            self._of_some[who] = sentence, now
        kind = kind or sentence
        if now < self._told.get(kind, float("-inf")):
            return False
        self._told = {known: at for known, at in self._told.items() if now < at}
        self._told[kind] = now + TELL_AGAIN_SECONDS
        return True

    def is_over(self, who: Hashable = None) -> None:
        """Somebody did not meet it: it is over for all, and for `who`, but not for others whose trouble is their own."""
        self._of_all = None
        self._of_some.pop(who, None)

    def forget_old(self, now: float) -> None:
        """Drop those who never came back to say that it is over."""
        for who, (_, at) in tuple(self._of_some.items()):
            if now - at > _FORGOTTEN_AFTER:
                self._of_some.pop(who, None)
