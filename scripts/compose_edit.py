"""Adds the mirror's lines to a compose file, and removes them: text in, text out, comments and order untouched.

Standard library only, Python 3.7: it runs on the user's Docker host. Every line that it adds bears a mark, so that
removing the marked lines gives the old text back, byte for byte. The text is read before and after (`compose_yaml`):
where anything but the mirror's own mount and variables would differ, in whatever service, it refuses.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
from pathlib import Path
from typing import Any, Callable, Iterable, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import compose_file
from compose_service import (
    COMMENTED,
    MOUNT,
    PATCH,
    TARGET,
    ComposeError,
    environment_of,
    frigate_service,
    image_of,
    is_set,
    mount,
    mounts_of,
    read,
    seen_by_docker,
    seen_in_files,
    services,
    starts_itself,
    values,
    variables_from_files,
)
from compose_yaml import NULL, Entry, Node, Scalar, YamlError, meaning, parse, split_lines

GRACE = "30s"
OWN_LINE = re.compile(
    r"""\s*(?:(?:\#\s*)?(?:-\s*)?["']?(?:S3_\w+\s*[=:]|PYTHONPATH\s*[=:]\s*["']?/opt/s3-mirror/patch["']?\s*$|[^"'\s]*:/opt/s3-mirror\b)
    |stop_grace_period:\s*30s\s*$|(?:volumes|environment):\s*$)""",
    re.VERBOSE,
)


class Additions(NamedTuple):
    """What the service lacks."""

    grace: bool
    mount: bool
    python_path: bool


# -- adding ----------------------------------------------------------------------------------------------------------


def lacking(service: dict[str, Any], from_files: Iterable[str] = ()) -> Additions:
    """Return what has to be added to the service. Raises ComposeError."""
    environment = environment_of(service.get("environment"))
    python_path = environment.get("PYTHONPATH") or ""
    needs_path = PATCH not in python_path.split(":") and not starts_itself(service)
    if needs_path and ("PYTHONPATH" in environment or "PYTHONPATH" in from_files):
        raise ComposeError(f"PYTHONPATH is set already; put {PATCH}: before its value yourself")
    has_mount = any(target == TARGET for _, target in mounts_of(service.get("volumes")))
    return Additions("stop_grace_period" not in service, not has_mount, needs_path)


def add(text: str, wanted: str | None, mark: str, from_files: Iterable[str] = ()) -> str:
    """Return the text with the mirror's lines. Raises ComposeError where anything else would change.

    `from_files` names the variables that the service has from its `env_file`.
    """
    root = read(text)
    service = frigate_service(root, wanted)
    if not service.value.is_block or service.value.kind != "mapping":
        raise ComposeError(f"line {service.line + 1}: the service '{service.name}' is not written as a block")
    refuse_extends(root, service)
    needed = lacking(values(service), from_files)
    pad = " " * service.value.column
    inserts = [volume_lines(service, pad, needed), environment_lines(text, service, pad, needed, from_files)]
    if needed.grace:
        inserts.append((service.line + 1, [f"{pad}stop_grace_period: {GRACE}"]))
    after = insert(text, inserts, mark)
    if after != text:
        refuse_other_changes(text, after, service.name, needed)
    return after


def refuse_extends(root: Node, service: Entry) -> None:
    """Raise ComposeError where the service's keys come from, or go to, another service."""
    if "extends" in values(service):
        raise ComposeError(f"the service '{service.name}' extends another one, which is not looked into")
    for other in services(root):
        base = values(other).get("extends", NULL)
        name = base.get("service", NULL) if isinstance(base, dict) else base
        if isinstance(name, Scalar) and name.text == service.name:
            raise ComposeError(f"the service '{other.name}' extends '{service.name}' and would get its lines, too")


def own_block(service: Entry, name: str) -> Node | None:
    """Return the service's list or mapping of this name, to which lines may be added; None where there is none."""
    node = service.value.get(name)
    if node is None and name in values(service):
        raise ComposeError(f"its '{name}' comes from {origin(service, name)}, and one of its own would replace that")
    if node is not None and not node.is_block and not node.is_null:
        raise ComposeError(f"line {node.start + 1}: '{name}' is not written as a block")
    return node


def origin(service: Entry, name: str) -> str:
    """Name the anchor that a merged key comes from, with its line."""
    merged = [entry.value for entry in service.value.entries if entry.is_merge]
    sources = [source for value in merged for source in (value.items if value.kind == "sequence" else [value])]
    for source in sources:
        node = source.items[0].get(name) if source.kind == "alias" else source.get(name)
        if node is not None:
            return f"an anchor (line {node.start + 1})"
    return "an anchor"


def volume_lines(service: Entry, pad: str, needed: Additions) -> tuple[int, list[str]]:
    """Where the mount goes, and its lines; none when it is there."""
    if not needed.mount:
        return service.line + 1, []
    block = own_block(service, "volumes")
    if block is None:
        return service.line + 1, [f"{pad}volumes:", f"{pad}  - {MOUNT}"]
    return block.end + 1, [f"{item_pad(block, pad)}- {MOUNT}"]


def item_pad(block: Node, pad: str) -> str:
    """The indentation of the block's items."""
    return f"{pad}  " if block.is_null else " " * block.column


def environment_lines(
    text: str, service: Entry, pad: str, needed: Additions, from_files: Iterable[str]
) -> tuple[int, list[str]]:
    """Where the variables go, and their lines: the patch's path, and as comments what the user has to fill in."""
    there = set(environment_of(values(service).get("environment"))) | set(from_files)
    written = service.value.get("environment")
    if written is not None:
        there |= commented_names(split_lines(text), service)
    hints = [pair for pair in COMMENTED if not is_set(pair[0], there)]
    if not needed.python_path and (not hints or written is None):
        return service.line + 1, []
    block = own_block(service, "environment")
    as_list = block is None or block.is_null or block.kind == "sequence"
    new = [assignment("PYTHONPATH", PATCH, as_list=as_list)] if needed.python_path else []
    new += [f"# {assignment(name, value, as_list=as_list)}" for name, value in hints]
    if block is None:
        return service.line + 1, [f"{pad}environment:", *(f"{pad}  {line}" for line in new)]
    return block.end + 1, [f"{item_pad(block, pad)}{line}" for line in new]


def commented_names(lines: list[str], service: Entry) -> set[str]:
    """Return the variables that comments in the service, or right below it, name as `# - S3_BUCKET=...`."""
    end = service.value.end + 1
    while end < len(lines) and (not lines[end].strip() or lines[end].lstrip().startswith("#")):
        end += 1
    pattern = re.compile(r"\s*#\s*(?:-\s*)?[\"']?(S3_\w+)\s*[=:]")
    return {match.group(1) for match in map(pattern.match, lines[service.line : end]) if match}


def assignment(name: str, value: str, *, as_list: bool) -> str:
    """One variable, as an item of a list or as a key."""
    return f"- {name}={value}" if as_list else f"{name}: {value}"


def insert(text: str, inserts: list[tuple[int, list[str]]], mark: str) -> str:
    """Put marked lines before the lines of these numbers, with the line ends of their neighbours.

    A file whose last line does not end stays one: then the last new line does not end, either.
    """
    lines = split_lines(text)
    for position, new in sorted(inserts, key=lambda place: place[0], reverse=True):
        before = lines[position - 1]
        end = "\r\n" if before.endswith("\r\n") or (not before.endswith("\n") and "\r\n" in text) else "\n"
        added = [f"{line}  {mark}{end}" for line in new]
        if added and not before.endswith("\n"):
            lines[position - 1], added[-1] = before + end, added[-1][: -len(end)]
        lines[position:position] = added
    return "".join(lines)


def refuse_other_changes(before: str, after: str, service: str, needed: Additions) -> None:
    """Raise ComposeError unless the two differ by the mirror's lines alone, in the eyes of every reader at hand."""
    readers: list[tuple[Callable[[str], Any], Callable[[str], Any]]] = [(lambda text: meaning(parse(text)), Scalar)]
    readers += [(reader, str) for reader in compose_file.other_readers()]
    for reader, scalar in readers:
        try:
            expected = reader(before)
        except ValueError:
            continue  # it does not read the file as it is, so it has no say
        try:
            with_lines(expected["services"], service, needed, scalar)
            is_same = reader(after) == expected
        except (ValueError, KeyError, TypeError, YamlError):
            is_same = False
        if not is_same:
            raise ComposeError("other lines of it would come to mean something else (anchors, aliases or merged keys)")


def with_lines(found: dict[str, Any], name: str, needed: Additions, scalar: Callable[[str], Any]) -> None:
    """Do to the values what the lines are to do."""
    service = found[name] = copy.deepcopy(found[name])
    nothing = (None, NULL)
    if needed.grace:
        service["stop_grace_period"] = scalar(GRACE)
    if needed.mount:
        volumes = service.get("volumes")
        service["volumes"] = [*([] if volumes in nothing else volumes), scalar(MOUNT)]
    if needed.python_path and isinstance(service.get("environment"), dict):
        service["environment"] = {**service["environment"], "PYTHONPATH": scalar(PATCH)}
    elif needed.python_path:
        environment = service.get("environment")
        service["environment"] = [*([] if environment in nothing else environment), scalar(f"PYTHONPATH={PATCH}")]


def by_hand(text: str, wanted: str | None, from_files: Iterable[str] = ()) -> list[str]:
    """Return the lines that the service lacks, in the form that it uses, for the user to add himself."""
    try:
        service = values(frigate_service(read(text), wanted))
    except ComposeError:
        service = {}
    try:
        needed = lacking(service, from_files)
    except ComposeError:
        needed = lacking({key: value for key, value in service.items() if key != "environment"})
    there = set(environment_of(service.get("environment"))) | set(from_files)
    as_list = not isinstance(service.get("environment"), dict)
    settings = [(name, value) for name, value in COMMENTED if not is_set(name, there)]
    if needed.python_path:
        own = "" if "PYTHONPATH" not in there else ":and-what-it-holds-now"
        settings.insert(0, ("PYTHONPATH", PATCH + own))
    lines = [f"stop_grace_period: {GRACE}"] if needed.grace else []
    lines += ["volumes:", f"  - {MOUNT}"] if needed.mount else []
    lines += ["environment:", *(f"  {assignment(*pair, as_list=as_list)}" for pair in settings)] if settings else []
    return lines


# -- removing --------------------------------------------------------------------------------------------------------


def remove(text: str, mark: str) -> str:
    """Return the text without the lines that were added. Raises ComposeError where anything else would change.

    What a user added below them, or made of them, stays: a key that still has items of his only loses its mark.
    """
    lines = split_lines(text)
    marked = [number for number, line in enumerate(lines) if line.rstrip().endswith(mark)]
    if not marked:
        return text
    try:
        root = read(text)
    except ComposeError as error:
        numbers = ", ".join(str(number + 1) for number in marked)
        raise ComposeError(f"{error}; remove the lines {numbers}, which end in '{mark}', yourself") from error
    own = {number for number in marked if OWN_LINE.match(lines[number].rstrip()[: -len(mark)].rstrip())}
    own -= still_used(root, frozenset(own))
    for number in set(marked) - own:
        if lines[number].lstrip().startswith("#"):
            continue
        ending = lines[number][len(lines[number].rstrip()) :]
        lines[number] = lines[number].rstrip()[: -len(mark)].rstrip() + ending
    kept = [line for number, line in enumerate(lines) if number not in own]
    if kept and len(lines) - 1 in own and not lines[-1].endswith("\n"):
        kept[-1] = kept[-1].rstrip("\r\n") if kept[-1].endswith(("\r\n", "\n")) else kept[-1]
    after = "".join(kept)
    if meaning(read(after)) != meaning(root, frozenset(own)):
        raise ComposeError(f"without the lines that end in '{mark}' it would come to mean something else")
    return after


def still_used(node: Node, own: frozenset[int]) -> set[int]:
    """Return the lines of keys that are to go, but under which something stays."""
    found: set[int] = set()
    for entry in node.entries:
        if entry.line in own and entry.value.is_block and meaning(entry.value, own) != NULL:
            found.add(entry.line)
        found |= still_used(entry.value, own)
    for item in node.items if node.kind == "sequence" else ():
        found |= still_used(item, own)
    return found


# -- the command -----------------------------------------------------------------------------------------------------


def change(given: argparse.Namespace) -> None:
    """Add or remove, and write the file. Raises ComposeError, OSError."""
    before = compose_file.text_of(given.file)
    if given.action == "remove":
        after = remove(before, given.mark)
    else:
        after = add(before, given.service, given.mark, variables_from_files(before, given.service, given.file.parent))
    if given.dry_run or after == before:
        if not given.dry_run:
            print(f"{given.file} has {'none of the lines' if given.action == 'remove' else 'all the lines already'}")
        return
    asked = compose_file.Docker(given.docker.split(), given.all_files or [given.file]) if given.docker else None
    name = frigate_service(read(before), given.service).name if given.action == "add" else ""

    def judge(candidate: Path) -> None:
        if asked is not None and name and not asked.sees_no_more(given.file, candidate, name):
            raise ComposeError("docker compose says that more of it would change than the mirror's own lines")

    for sentence in compose_file.replace(given.file, before, after, judge, is_removal=given.action == "remove"):
        print(sentence)


def look(given: argparse.Namespace) -> None:
    """Answer a question about the file. Raises ComposeError, OSError."""
    files = given.all_files or [given.file]
    text = compose_file.text_of(given.file)
    if given.action == "mount":
        print(mount(text, given.service, given.target))
    elif given.action == "lines":
        print("\n".join(by_hand(text, given.service)))
    elif given.action == "describe":
        service = frigate_service(read(text), given.service)
        print(f"{service.name}\t{image_of(service)}")
    else:
        view = compose_file.Docker(given.docker.split(), files).view() if given.docker else None
        missing = seen_by_docker(view, given.service) if view is not None else seen_in_files(files, given.service)
        print("\n".join(missing), end="\n" if missing else "")
        sys.exit(3 if missing else 0)


def main() -> None:
    """Command line, for setup_s3_mirror.sh."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=("describe", "mount", "lines", "unfilled", "add", "remove"))
    parser.add_argument("file", type=Path)
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--service")
    parser.add_argument("--mark", default="")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--docker", default="", help="the command of compose, to be asked for a second opinion")
    parser.add_argument("--all-files", nargs="+", type=Path, help="the files that compose reads, in their order")
    given = parser.parse_args()
    compose_file.end_in_order_when_asked()
    try:
        if given.action in {"add", "remove"}:
            change(given)
        else:
            look(given)
    except ComposeError as error:
        if given.action != "mount":
            print(f"{given.file} is left alone: {error}.", file=sys.stderr)
        if given.action == "add":
            print(
                "Add these lines yourself. Where Frigate has a key of that name already, from an anchor or from another file too,\n"
                "put the items below that one: a second key would take away what is there.\n",
                file=sys.stderr,
            )
            print(
                "\n".join(f"    {line}" for line in by_hand(compose_file.text_of(given.file), given.service)),
                file=sys.stderr,
            )
        sys.exit(1)
    except OSError as error:
        print(f"{given.file} is left alone: {error.strerror or error}.", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"Interrupted; {given.file} is as it was.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    os.umask(0o077)
    main()
