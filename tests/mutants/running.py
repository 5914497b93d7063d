"""Runs unit tests against a changed module, in a copy of the tree and a process of its own.

Each run is a fork of this process, which has loaded the libraries and nothing of the mirror, so a mutant costs little more
than its tests. A first run without a change tells which test passes through which line: only those are run for a lie there.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

_LIBRARIES = (
    "hypothesis", "hypothesis.stateful", "boto3", "moto", "obstore", "pydantic", "rich.console", "starlette.applications",
    "typer", "urllib3", "uvicorn", "werkzeug",
)  # fmt: skip
_NOT_COPIED = (".git", ".venv", ".uv", ".*_cache", ".hypothesis", "dist", "build", "__pycache__", "*.egg-info")
_LEAST_SECONDS = 30.0
_LONGEST_BASELINE_SECONDS = 900.0
_POLL_SECONDS = 0.02
_BROKEN = 70


class Fate(Enum):
    """What became of a mutant."""

    NOTICED = auto()
    TIMED_OUT = auto()
    """Noticed, too: the tests did not come to an end."""
    SURVIVED = auto()


@dataclass(frozen=True, slots=True)
class Passage:
    """One test's way through the module: the lines, and how long it took."""

    lines: frozenset[int]
    seconds: float


_NOTHING = Passage(frozenset(), 0.0)
Passages = dict[str, Passage]
"""By the test's id, with or without its parameters. Lines that run when the module is loaded belong to every test."""


class BrokenTestsError(Exception):
    """Tests fail without any change."""


class Tree:
    """A copy of the repository in which one run at a time goes on."""

    def __init__(self, root: Path, place: Path) -> None:
        self._root = place / "tree"
        self._temporary = place / "tmp"
        shutil.copytree(root, self._root, ignore=shutil.ignore_patterns(*_NOT_COPIED), symlinks=True)
        self._child = 0
        self._ends_at = 0.0
        self._restore: tuple[Path, bytes] | None = None

    def path(self, module: str) -> Path:
        """The module's file in this copy."""
        return self._root / "src" / "frigate_s3_mirror" / f"{module.replace('.', '/')}.py"

    def baseline(self, module: str, tests: Sequence[str]) -> Passages:
        """Run these test files without a change. Raises BrokenTestsError when one fails."""
        result = self._root / "passages"
        result.unlink(missing_ok=True)
        tracer = _Tracer(str(self.path(module)), result)
        self._start([f"tests/unit/test_{name}.py" for name in tests], tracer, _LONGEST_BASELINE_SECONDS)
        self.expect_success(f"the tests of {module}")
        passages: Passages = pickle.loads(result.read_bytes())  # noqa: S301  # our own child wrote it
        return passages

    def expect_success(self, tests: str) -> None:
        """Wait for the run. Raises BrokenTestsError when a test fails."""
        while (fate := self.fate()) is None:
            time.sleep(_POLL_SECONDS)
        if fate is not Fate.SURVIVED:
            raise BrokenTestsError(f"{tests} fail without a change:\n{self.output()[-3000:]}")

    def begin(self, module: str, source: bytes, chosen: Passages) -> None:
        """Start these tests, the quick ones first, on the changed module."""
        path = self.path(module)
        self._restore = path, path.read_bytes()
        _write(path, source)
        files = sorted({test.partition("::")[0] for test in chosen})
        seconds = sum(passage.seconds for passage in chosen.values())
        self._start(files, _Chosen(chosen), _LEAST_SECONDS + 4 * seconds)

    def fate(self) -> Fate | None:
        """What came of the run; None while it goes on."""
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid == 0 and time.monotonic() < self._ends_at:
            return None
        self._kill()  # with whatever the tests left behind
        if pid == 0:
            os.waitpid(self._child, 0)
        self._child = 0
        if self._restore is not None:
            _write(*self._restore)
            self._restore = None
        if pid == 0:
            return Fate.TIMED_OUT
        return Fate.SURVIVED if os.waitstatus_to_exitcode(status) == 0 else Fate.NOTICED

    def stop(self) -> None:
        """End the run that goes on, if there is one."""
        if self._child:
            self._kill()

    def output(self) -> str:
        """What the last run's tests said."""
        return (self._root / "output").read_text(errors="replace")

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child, signal.SIGKILL)

    def _start(self, files: Sequence[str], plugin: object, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._child = os.fork()
        if self._child == 0:
            code = _BROKEN
            try:
                code = self._run(files, plugin)
            except BaseException:  # noqa: BLE001  # whatever it is, it is told, and the parent goes on
                traceback.print_exc()
            finally:
                os._exit(code)  # nothing of the parent's own may run here

    def _run(self, files: Sequence[str], plugin: object) -> int:
        """In the child: run the tests, and return pytest's exit code."""
        os.setsid()
        output = os.open(self._root / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(self._root)
        sys.path[:0] = [str(self._root / "src")]
        os.environ["PYTHONPATH"] = str(self._root / "src")  # for what the tests start
        _without_database_and_deadlines()
        if isinstance(plugin, _Tracer):
            plugin.begin()
        options = [
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            f"--basetemp={self._temporary}",
        ]
        return int(pytest.main([*options, *files], plugins=[plugin]))


def load_libraries() -> None:
    """Import what the tests need, once for all forks; nothing of the mirror."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    if any(name.startswith("frigate_s3_mirror") for name in sys.modules):
        raise RuntimeError("the mirror is loaded already, so no fork would see a changed module")


def chosen(passages: Passages, lines: range) -> Passages:
    """The tests that pass through one of these lines of the module."""
    return {test: passage for test, passage in passages.items() if not passage.lines.isdisjoint(lines)}


class _Tracer:
    """Notes which test passes through which line of one file."""

    def __init__(self, path: str, result: Path) -> None:
        self._path, self._result = path, result
        self._passages: Passages = {}
        self._at_import: set[int] = set()
        self._lines = self._at_import

    def begin(self) -> None:
        """Called before pytest loads anything."""
        threading.settrace(self._enter)
        sys.settrace(self._enter)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._lines, started = set(), time.monotonic()
        self.begin()  # something may have ended it
        result = yield
        self._passages[item.nodeid] = Passage(frozenset(self._lines), time.monotonic() - started)
        return result

    def pytest_sessionfinish(self) -> None:
        sys.settrace(None)
        threading.settrace(None)
        everywhere = {
            test: Passage(passage.lines | self._at_import, passage.seconds) for test, passage in self._passages.items()
        }
        self._result.write_bytes(pickle.dumps(everywhere))

    def _enter(self, frame: FrameType, _event: str, _argument: object) -> Any:
        return self._line if frame.f_code.co_filename == self._path else None

    def _line(self, frame: FrameType, _event: str, _argument: object) -> Any:
        self._lines.add(frame.f_lineno)
        return self._line


class _Chosen:
    """Runs the chosen tests, the quick ones first."""

    def __init__(self, passages: Passages) -> None:
        self._passages = passages

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if self._passage(item) is not None),
            key=lambda item: (self._passage(item) or _NOTHING).seconds,
        )

    def _passage(self, item: pytest.Item) -> Passage | None:
        return self._passages.get(item.nodeid) or self._passages.get(item.nodeid.partition("[")[0])


def _without_database_and_deadlines() -> None:
    """Let hypothesis try the same examples each time, and end at the first that fails."""
    from hypothesis import HealthCheck, Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutants",
        database=None,
        deadline=None,
        derandomize=True,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutants")


def _write(path: Path, source: bytes) -> None:
    """Write a module, and let nothing that was compiled before stand for it."""
    path.write_bytes(source)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
