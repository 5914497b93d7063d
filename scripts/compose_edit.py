"""Adds the mirror's lines to a compose file, and removes them: text in, text out, comments and order untouched.

Standard library only, Python 3.7: it runs on the user's Docker host. It understands the block style in which compose
files are written by hand; of anything else it says so and changes nothing. Every line that it adds bears a mark, so that
removing the marked lines gives the old text back, byte for byte.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

MOUNT = "./s3-mirror:/opt/s3-mirror:ro"
PATCH = "/opt/s3-mirror/patch"
COMMENTED = (
    ("S3_BUCKET", "your-bucket-name"),
    ("S3_ACCESS_KEY", "your-access-key-id"),
    ("S3_SECRET_KEY", "your-secret-access-key"),
    ("S3_REGION", "us-east-1"),
    ("S3_ENDPOINT_URL", "https://minio.example.com:9000"),
)


class ComposeError(Exception):
    """The file cannot be used as it is; the text is a sentence for the user."""


class Block(NamedTuple):
    """A key and the lines below it: `lines[start]` is the key's own, `lines[end]` the first that is not its."""

    name: str
    start: int
    end: int
    indent: int


def indent_of(line: str) -> int:
    """Columns before the first character."""
    return len(line) - len(line.lstrip(" "))


def is_content(line: str) -> bool:
    """Whether the line is more than space and comment."""
    return bool(line.strip()) and not line.lstrip().startswith("#")


def blocks(lines: list[str], start: int, end: int) -> list[Block]:
    """The keys of one mapping, whose lines are `lines[start:end]`."""
    found: list[Block] = []
    level = next((indent_of(lines[n]) for n in range(start, end) if is_content(lines[n])), None)
    for number in range(start, end):
        line = lines[number]
        if "\t" in line[: len(line) - len(line.lstrip())]:
            raise ComposeError(f"line {number + 1} is indented with a tab, which YAML forbids")
        if not is_content(line) or indent_of(line) != level or line.lstrip().startswith("- "):
            continue
        match = re.match(r"""\s*["']?([^"'\s:#]+)["']?\s*:(\s|$)""", line)
        if match is None:
            raise ComposeError(f"line {number + 1} is not understood")
        if found:
            found[-1] = found[-1]._replace(end=number)
        found.append(Block(match.group(1), number, end, level))
    return found


def block_named(found: list[Block], name: str) -> Block | None:
    """The block with this name, or None."""
    return next((block for block in found if block.name == name), None)


def value_of(line: str) -> str:
    """What stands behind `key:`, without quotes and comment."""
    return re.sub(r"\s+#.*$", "", line.split(":", 1)[1]).strip().strip("\"'")


def frigate_service(lines: list[str], wanted: str | None) -> Block:
    """The service of this name, or the one whose image is a Frigate. Raises ComposeError."""
    services = block_named(blocks(lines, 0, len(lines)), "services")
    if services is None:
        raise ComposeError("it has no 'services:'")
    found = blocks(lines, services.start + 1, services.end)
    if wanted is not None:
        service = block_named(found, wanted)
        if service is None:
            raise ComposeError(f"it has no service '{wanted}'; there are {', '.join(b.name for b in found) or 'none'}")
        return service
    candidates = [service for service in found if "frigate" in image_of(lines, service)]
    candidates = [service for service in candidates if "s3-mirror" not in image_of(lines, service)]
    if len(candidates) != 1:
        names = ", ".join(b.name for b in candidates or found) or "none"
        raise ComposeError(f"which service is Frigate? Name it with --service; there are {names}")
    return candidates[0]


def image_of(lines: list[str], service: Block) -> str:
    """The service's image, or an empty string."""
    image = block_named(blocks(lines, service.start + 1, service.end), "image")
    return value_of(lines[image.start]) if image else ""


def items(lines: list[str], block: Block) -> list[int]:
    """Numbers of the content lines below the block's key. Raises ComposeError for the flow style and for anchors."""
    if value_of(lines[block.start]):
        raise ComposeError(f"line {block.start + 1}: '{block.name}' is not written as a block")
    return [number for number in range(block.start + 1, block.end) if is_content(lines[number])]


def add(text: str, wanted: str | None, mark: str) -> str:
    """The text with the mirror's lines. Raises ComposeError."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        raise ComposeError("its last line does not end; add a line break at the end of the file")
    service = frigate_service(lines, wanted)
    keys = blocks(lines, service.start + 1, service.end)
    if not keys:
        raise ComposeError(f"the service '{service.name}' is empty")
    inserts: list[tuple[int, list[str]]] = []
    pad = " " * keys[0].indent
    if block_named(keys, "stop_grace_period") is None:
        inserts.append((service.start + 1, [f"{pad}stop_grace_period: 30s"]))
    inserts.append(volume_lines(lines, keys, pad, service))
    inserts.append(environment_lines(lines, keys, pad, service))
    for position, new in sorted(inserts, key=lambda insert: insert[0], reverse=True):
        lines[position:position] = [f"{line}  {mark}\n" for line in new]
    return "".join(lines)


def volume_lines(lines: list[str], keys: list[Block], pad: str, service: Block) -> tuple[int, list[str]]:
    """Where the mount goes, and its lines; none when it is there."""
    block = block_named(keys, "volumes")
    if block is None:
        return service.start + 1, [f"{pad}volumes:", f"{pad}  - {MOUNT}"]
    there = items(lines, block)
    if any(":/opt/s3-mirror" in lines[number] for number in there):
        return block.start + 1, []
    item_pad = " " * indent_of(lines[there[0]]) if there else f"{pad}  "
    return (there[-1] if there else block.start) + 1, [f"{item_pad}- {MOUNT}"]


def environment_lines(lines: list[str], keys: list[Block], pad: str, service: Block) -> tuple[int, list[str]]:
    """Where the variables go, and their lines: the patch's path, and as comments what the user has to fill in."""
    block = block_named(keys, "environment")
    there = items(lines, block) if block else []
    text = "".join(lines[block.start : block.end]) if block else ""
    starts_itself = (entry := block_named(keys, "entrypoint")) is not None and "s3-mirror" in "".join(
        lines[entry.start : entry.end]
    )
    as_list = not there or lines[there[0]].lstrip().startswith("-")
    item_pad = " " * indent_of(lines[there[0]]) if there else f"{pad}  "

    def line(name: str, value: str) -> str:
        return f"- {name}={value}" if as_list else f"{name}: {value}"

    new: list[str] = []
    if PATCH not in text and not starts_itself:
        if re.search(r"^\s*(?:-\s*[\"']?)?PYTHONPATH\s*[=:]", text, re.MULTILINE):
            raise ComposeError(f"PYTHONPATH is set already; put {PATCH}: before its value yourself")
        new.append(f"{item_pad}{line('PYTHONPATH', PATCH)}")
    new += [f"{item_pad}# {line(name, value)}" for name, value in COMMENTED if f"{name}" not in text]
    if block is None:
        return service.start + 1, [f"{pad}environment:", *new]
    return (there[-1] if there else block.start) + 1, new


def mount(text: str, wanted: str | None, target: str) -> str:
    """The host's folder that is mounted at the target. Raises ComposeError."""
    lines = text.splitlines(keepends=True)
    service = frigate_service(lines, wanted)
    block = block_named(blocks(lines, service.start + 1, service.end), "volumes")
    for number in items(lines, block) if block else []:
        parts = re.sub(r"\s+#.*$", "", lines[number]).strip().lstrip("- ").strip("\"'").split(":")
        if len(parts) > 1 and parts[1].rstrip("/") == target and parts[0][:1] in {"/", "."}:
            return parts[0]
    raise ComposeError(f"nothing of the host is mounted at {target}")


def remove(text: str, mark: str) -> str:
    """The text without marked lines."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.rstrip("\n").endswith(mark))


def main() -> None:
    """Command line, for setup_s3_mirror.sh."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=("describe", "mount", "add", "remove"))
    parser.add_argument("file", type=Path)
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--service")
    parser.add_argument("--mark", default="")
    given = parser.parse_args()
    try:
        text = given.file.read_text(encoding="utf-8")
        if given.action == "describe":
            lines = text.splitlines(keepends=True)
            service = frigate_service(lines, given.service)
            print(f"{service.name}\t{image_of(lines, service)}")
        elif given.action == "mount":
            print(mount(text, given.service, given.target))
        else:
            new = add(text, given.service, given.mark) if given.action == "add" else remove(text, given.mark)
            if new != text:
                with given.file.open("w", encoding="utf-8") as file:  # in place: owner, rights and links stay
                    file.write(new)
    except ComposeError as error:
        if given.action != "mount":
            print(f"{given.file} is left alone: {error}.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
