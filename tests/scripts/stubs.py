"""A `docker` that records what it is asked and plays back answers, and a folder to put it first on the PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_PLAYER = """#!/usr/bin/env python3
import json, sys
from pathlib import Path
here = Path(__file__).parent
with (here / "asked.jsonl").open("a") as record:
    record.write(json.dumps(sys.argv[1:]) + "\\n")
for part, output, error, status in json.loads((here / "answers.json").read_text()):
    if part in " ".join(sys.argv[1:]):
        sys.stdout.write(output)
        sys.stderr.write(error)
        sys.exit(status)
sys.stderr.write("unknown to the stub: " + " ".join(sys.argv[1:]))
sys.exit(125)
"""


@dataclass
class StubDocker:
    """Answers are tried in their order; the first whose text is a part of the arguments is played."""

    folder: Path
    answers: list[tuple[str, str, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        program = self.folder / "docker"
        program.write_text(_PLAYER)
        program.chmod(0o755)

    def answer(self, part: str, output: str = "", error: str = "", status: int = 0) -> None:
        """Play this when the arguments hold the text."""
        self.answers.append((part, output, error, status))

    def asked(self) -> list[list[str]]:
        """The arguments of every call."""
        record = self.folder / "asked.jsonl"
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []

    def run(self, script: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the project with this docker on its PATH."""
        (self.folder / "answers.json").write_text(json.dumps(self.answers))
        path = f"{self.folder}:{os.environ['PATH']}"
        return subprocess.run(
            [str(REPOSITORY / script), *arguments],
            cwd=cwd, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip


def without_docker(folder: Path) -> str:
    """A PATH with the usual tools and no docker."""
    folder.mkdir()
    for name in ("bash", "env", "dirname", "basename", "grep", "python3", "uname", "mkdir", "rm", "mv", "cp", "chmod", "find", "date", "id", "cat", "sed", "tail", "tput", "cmp"):  # fmt: skip
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return str(folder)
