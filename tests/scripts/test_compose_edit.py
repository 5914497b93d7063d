"""Lines for the mirror in compose files of many hands: added where they belong, and gone again byte for byte."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
MARK = "# added by setup_s3_mirror.sh"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compose_edit", ROOT / "scripts" / "compose_edit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


editor = load()

LIST = """
    # my cameras
    version: "3.9"
    services:
      mqtt:
        image: eclipse-mosquitto
      frigate:
        image: ghcr.io/blakeblackshear/frigate:stable  # pinned one day
        volumes:
          - ./config:/config
          # big disk
          - /mnt/nas/frigate:/media/frigate
        environment:
          - FRIGATE_RTSP_PASSWORD=secret
        ports:
          - "8971:8971"
    """
MAPPING = """
    services:
        nvr:
            image: "ghcr.io/blakeblackshear/frigate:0.16.1"
            stop_grace_period: 1m
            environment:
                TZ: Europe/Berlin

            volumes:
            - ./config:/config
            - ./storage:/media/frigate
    """
BARE = """
    services:
      frigate:
        image: blakeblackshear/frigate
    """


def text(shape: str) -> str:
    return textwrap.dedent(shape).lstrip("\n")


@pytest.mark.parametrize("shape", [LIST, MAPPING, BARE])
def test_added_lines_come_and_go_byte_for_byte(shape: str) -> None:
    """Adding twice is adding once; removing the marked lines gives the old text back."""
    before = text(shape)
    after = editor.add(before, None, MARK)
    assert after != before
    assert editor.add(after, None, MARK) == after
    assert editor.remove(after, MARK) == before
    assert [line for line in after.splitlines() if MARK not in line] == before.splitlines()


def test_lines_go_where_the_file_has_its_own() -> None:
    """As list items where there is a list, as a mapping where there is one, with the file's own indentation."""
    lines = [line.split("  #")[0] for line in editor.add(text(LIST), None, MARK).splitlines()]
    assert (
        lines.index("      - ./s3-mirror:/opt/s3-mirror:ro")
        == lines.index("      - /mnt/nas/frigate:/media/frigate") + 1
    )
    assert "      - PYTHONPATH=/opt/s3-mirror/patch" in lines
    assert "    stop_grace_period: 30s" in lines
    mapped = editor.add(text(MAPPING), None, MARK)
    assert "            PYTHONPATH: /opt/s3-mirror/patch" in mapped
    assert "            # S3_BUCKET: your-bucket-name" in mapped
    assert mapped.count("stop_grace_period") == 1
    assert "        - ./s3-mirror:/opt/s3-mirror:ro" in mapped


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ("frigate:\n  image: frigate\n", "has no 'services:'"),
        ("services:\n  a:\n    image: x\n", "which service is Frigate?"),
        ("services:\n  a:\n    image: frigate\n  b:\n    image: frigate:2\n", "which service is Frigate?"),
        ("services:\n  frigate:\n    image: frigate\n    volumes: [a:b]\n", "is not written as a block"),
        ("services:\n  frigate:\n    image: frigate\n    environment:\n      - PYTHONPATH=/mine\n", "PYTHONPATH is set already"),
        ("services:\n\tfrigate:\n", "indented with a tab"),
        ("services:\n  frigate:\n    image: frigate", "last line does not end"),
        ("services:\n  frigate:\n    image: frigate\n    {{ templated }}\n", "is not understood"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_left_alone(shape: str, sentence: str) -> None:
    """One sentence, and no guess."""
    with pytest.raises(editor.ComposeError, match=sentence.replace("?", r"\?")):
        editor.add(shape, None, MARK)


def test_a_service_can_be_named_and_mounts_be_found() -> None:
    """For files with several Frigates, and for the backup of state files."""
    two = "services:\n  a:\n    image: frigate\n  b:\n    image: frigate:2\n"
    assert "stop_grace_period" in editor.add(two, "b", MARK).split("  b:")[1]
    assert editor.mount(text(LIST), None, "/media/frigate") == "/mnt/nas/frigate"
    with pytest.raises(editor.ComposeError, match="nothing of the host"):
        editor.mount(text(BARE), None, "/media/frigate")


def test_the_projects_own_example_is_understood() -> None:
    """It has the lines already."""
    example = (ROOT / "docker-compose.yml").read_text()
    assert editor.add(example, None, MARK) == example


def test_docker_takes_the_example() -> None:
    """Where the compose plugin is there."""
    seen = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False) if shutil.which("docker") else None  # fmt: skip
    if seen is None or seen.returncode != 0:
        pytest.skip("docker compose is not installed")
    command = ["docker", "compose", "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
