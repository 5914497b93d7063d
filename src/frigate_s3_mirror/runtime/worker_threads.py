"""Threads that do the same work side by side, supervised: one that dies is counted, told and replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0


class WorkerThreads:
    """Runs a function in so many threads until it returns; owns the threads, and knows nothing of what they do."""

    def __init__(
        self, count: int, name: str, work: Callable[[int], None], tell: Callable[[str, BaseException | None], None]
    ) -> None:
        """`work` is called with the worker's number, from 0 on; `tell` hears the name and error of one that died."""
        self.died = 0
        """How many were replaced so far."""
        self._names = [f"{name} {number + 1}" for number in range(count)]
        self._work, self._tell = work, tell
        self._threads: dict[int, threading.Thread] = {}
        self._returned: set[int] = set()
        self._stopping = threading.Event()

    def supervise(self) -> None:
        """Start what does not run and should; call it at the beginning and now and then. Not for several threads."""
        for number, name in enumerate(self._names):
            before = self._threads.get(number)
            if self._stopping.is_set() or number in self._returned or (before is not None and before.is_alive()):
                continue
            if before is not None:
                self._note_death(name, None)
            thread = threading.Thread(target=self._run, args=(number, name), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread to be had now: the next call tries again
                self._note_death(name, error)
                return
            self._threads[number] = thread

    @property
    def dead(self) -> int:
        """How many were started and are gone, though their work did not return."""
        gone = [number for number, thread in self._threads.items() if not thread.is_alive()]
        return sum(number not in self._returned for number in gone)

    def stop(self) -> None:
        """Replace nobody any more."""
        self._stopping.set()

    def _run(self, number: int, name: str) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            try:
                self._work(number)
                self._returned.add(number)
            except BaseException as error:  # noqa: BLE001  # outermost frame; panics of native code are no Exception
                self._note_death(name, error)
                self._stopping.wait(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
            else:
                return

    def _note_death(self, name: str, error: BaseException | None) -> None:
        self.died += 1
        try:
            self._tell(name, error)
        except BaseException:  # noqa: BLE001  # a log that cannot be written is no reason to stop working
            return
