"""Log lines go out in order, and whoever does not read them holds up nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from frigate_s3_mirror.runtime.line_queue import LineQueue


class Reader:
    """Writes into a list, and hangs while it is told to."""

    def __init__(self) -> None:
        self.text = ""
        self.may_go = threading.Event()
        self.may_go.set()
        self.error: Exception | None = None

    def write(self, text: str) -> None:
        self.may_go.wait(20)
        if self.error is not None:
            raise self.error
        self.text += text


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.001)


def gap(count: int) -> str:
    return f"<{count} missing>"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=50), max_size=200))
def test_all_lines_come_out_in_their_order(lines: list[str]) -> None:
    reader = Reader()
    queue = LineQueue(reader.write, gap)
    for line in lines:
        queue.put(line)
    assert queue.flush(10)
    assert reader.text == "".join(f"{line}\n" for line in lines)
    assert queue.dropped == 0


def test_a_reader_that_hangs_costs_lines_and_no_time() -> None:
    """What fits is kept, the rest is counted, and told in its place when the reader goes on."""
    reader = Reader()
    queue = LineQueue(reader.write, gap, most=100)
    reader.may_go.clear()
    queue.put("first")
    until(lambda: queue.stuck_for() > 0)
    began = time.monotonic()
    for number in range(1000):
        queue.put(f"line {number:04}")  # nine characters
    assert time.monotonic() - began < 1.0
    assert queue.dropped == 1000 - 11
    assert not queue.flush(0.05)
    reader.may_go.set()
    assert queue.flush(10)
    queue.put("last")
    assert queue.flush(10)
    kept = "".join(f"line {number:04}\n" for number in range(11))
    assert reader.text == f"first\n{kept}<989 missing>\nlast\n"
    assert queue.stuck_for() == 0.0


def test_a_reader_that_is_gone_is_no_end_of_anything() -> None:
    """Each line is counted; when writing works again (a log file's disk has room), the gap is told."""
    reader = Reader()
    queue = LineQueue(reader.write, gap)
    reader.error = BrokenPipeError("gone")
    queue.put("one")
    assert queue.flush(10)
    queue.put("two")
    assert queue.flush(10)
    assert queue.dropped == 2
    reader.error = None
    queue.put("three")
    assert queue.flush(10)
    assert reader.text == "<2 missing>\nthree\n"


def test_lines_of_many_threads_are_whole() -> None:
    reader = Reader()
    queue = LineQueue(reader.write, gap)

    def write(name: int) -> None:
        for number in range(500):
            queue.put(f"{name} {number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.flush(10)
    lines = [tuple(map(int, line.split())) for line in reader.text.splitlines()]
    assert len(lines) == 2000
    for name in range(4):
        assert [number for who, number in lines if who == name] == list(range(500))


# -- the log of a real process -------------------------------------------------------------------------------------------

SET_UP = "import sys, time, os, threading\nfrom frigate_s3_mirror.logs import *\nset_up('info')\n"


def process(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SET_UP + program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_nothing_is_lost_at_a_normal_exit() -> None:
    """Ten thousand lines, and the interpreter's own end right after the last one."""
    done = process("for n in range(10000): logger().info('line %d', n)").communicate(timeout=60)
    assert [line.rsplit(b" ", 1)[1] for line in done[0].splitlines()] == [b"%d" % n for n in range(10000)]
    assert done[1] == b""


def test_nothing_is_lost_at_an_end_by_exception_or_by_exit() -> None:
    """The last line is there, and the traceback of the interpreter, too."""
    for end in ("raise ValueError('x')", "sys.exit(3)", "flush(); os._exit(4)"):
        out, _ = process(f"logger().info('almost')\nlogger().error('the end')\n{end}").communicate(timeout=60)
        assert out.endswith(b"the end\n"), end


def test_a_full_pipe_holds_up_neither_the_program_nor_its_end() -> None:
    """Nobody reads: the program goes on, and ends within the bound; what the pipe holds are whole lines in order."""
    child = process(
        "began = time.monotonic()\nfor n in range(60000): logger().info('line %06d %s', n, 'x' * 80)\n"
        "print(time.monotonic() - began, dropped_lines(), is_stuck(), file=sys.stderr, flush=True)\n"
        "flush(); os._exit(0)"
    )
    assert child.stderr is not None
    took, dropped, _ = child.stderr.readline().split()
    assert float(took) < 20
    assert int(dropped) > 10000
    assert child.wait(15) == 0
    assert child.stdout is not None
    lines = child.stdout.read().split(b"\n")
    numbers = [int(line.split(b"line ")[1].split()[0]) for line in lines[:-1]]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 100
    child.stdout.close()
    child.stderr.close()


def test_what_was_dropped_is_told_when_the_pipe_flows_again() -> None:
    """The lines before, how many are missing, and the lines after."""
    child = process(
        "for n in range(60000): logger().info('line %06d %s', n, 'x' * 80)\n"
        "print('full', file=sys.stderr, flush=True)\nwhile not flush(): pass\nlogger().info('after')"
    )
    assert child.stderr is not None
    assert child.stdout is not None
    child.stderr.readline()
    out, _ = child.communicate(timeout=60)
    lines = out.decode().splitlines()
    (told,) = [number for number, line in enumerate(lines) if "log lines are missing here, nobody read them" in line]
    missing = int(lines[told].split(" log lines")[0].rsplit(" ", 1)[1])
    assert told + missing == 60000
    assert lines[-1].endswith("after")
    assert "WARNING" in lines[told]


def test_a_pipe_that_does_not_block_loses_nothing() -> None:
    """O_NONBLOCK comes from whoever shares the pipe; a slow reader is waited for."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    child = subprocess.Popen(
        [sys.executable, "-c", f"{SET_UP}for n in range(5000): logger().info('line %d %s', n, 'x' * 80)"],
        stdout=writing,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        lines = file.read().splitlines()
    assert child.wait(20) == 0
    assert len(lines) == 5000


def test_a_reader_that_closes_its_end_is_no_end_of_the_program() -> None:
    child = process("time.sleep(0.2)\nfor n in range(2000): logger().info('x' * 100)\nflush()\nos._exit(7)")
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.wait(20) == 7
    assert child.stderr.read() == b""
    child.stderr.close()
