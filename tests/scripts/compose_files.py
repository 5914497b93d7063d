"""Compose files of many hands, made up by hypothesis: each habit is drawn on its own, so that all of them meet."""

from __future__ import annotations

import re
from typing import Any

import yaml
from hypothesis import strategies as st

FRIGATES = (
    "ghcr.io/blakeblackshear/frigate:stable",
    '"ghcr.io/blakeblackshear/frigate:0.16.1-tensorrt"',
    "'registry.example:5000/nvr/frigate'",
    "frigate@sha256:" + "ab" * 32,
    "${IMAGE:-ghcr.io/blakeblackshear/frigate:stable}",
    "ghcr.io/blakeblackshear/frigate:${TAG}   # pinned one day",
)
NEIGHBOURS = (
    "eclipse-mosquitto:2",
    "ghcr.io/0x2142/frigate-notify:latest",
    "litestream/litestream",
    "frigate-s3-mirror",
)
NOISE = ("", "# a comment", "   # - deeper: one", "\t", "  \t ", "#", "# caf\udce9 and \udcff", "\t# behind a tab")
VOLUMES = (
    "./config:/config",
    '"/mnt/big disk:/media/frigate:rw"',
    "type: bind\n  source: ./a b\n  target: /media/frigate",
    "cache:/tmp/cache  # fast",
)
VARIABLES = (
    ("TZ", "Europe/Madrid"), ("FRIGATE_RTSP_PASSWORD", "'p#ss: word'"), ("PLUS_API_KEY", '"a\\tb"'), ("NO", "yes"), ("MY_S3_REGION", "eu"),
    ("LITESTREAM_S3_BUCKET", "db"), ("S3_BUCKET", "snaps"), ("S3_SECRET_KEY_FILE", "/run/secrets/key"), ("EMPTY", ""), ("X_S3_ENDPOINT_URL_OLD", "${URL}"),
)  # fmt: skip
PLAIN_KEYS = (
    "restart: unless-stopped", "privileged: yes", "shm_size: 512mb", "stop_grace_period: 1m", 'ports:\n  - "8971:8971"\n  - 5000:5000',
    "devices: [/dev/dri/renderD128, '/dev/bus/usb']", "logging: {driver: json-file, options: {max-size: 10m}}", "env_file: [a.env]",
    "command: >-\n  sh -c\n    'exec /init'", "labels:\n  note: |\n    # no comment\n      deeper\n\n    end", "tmpfs:\n- /tmp/cache:size=1g",
    "deploy:\n  resources:\n    reservations:\n      devices:\n      - driver: nvidia\n        capabilities: [gpu]",
)  # fmt: skip


def indented(block: str, columns: int) -> list[str]:
    """The lines of a block, moved to the right."""
    return [f"{' ' * columns}{line}" if line else "" for line in block.split("\n")]


@st.composite
def listed(draw: st.DrawFn, key: str, items: list[str]) -> str:
    """A key with a block sequence, indented or not."""
    pad = " " * draw(st.sampled_from([0, 1, 2, 4]))
    quote = draw(st.sampled_from(["", "", '"']))
    entries = [f"{pad}- " + item.replace("\n", f"\n{pad}") for item in items]
    return "\n".join([f"{quote}{key}{quote}:" + draw(st.sampled_from(["", "  # mine"])), *entries])


@st.composite
def variables(draw: st.DrawFn) -> str:
    """An `environment` in one of its forms."""
    chosen = draw(st.lists(st.sampled_from(VARIABLES), min_size=1, max_size=4, unique=True))
    form = draw(st.sampled_from(["list", "mapping", "mapping", "null", "flow", "block scalar", "merged"]))
    if form == "list":
        return draw(
            listed(
                "environment",
                [f"{name}={value.strip(chr(34) + chr(39)) if '#' not in value else 'x'}" for name, value in chosen],
            )
        )
    pad = " " * draw(st.sampled_from([1, 2, 4]))
    lines = [f"{pad}{name}: {value}".rstrip() for name, value in chosen]
    return {
        "mapping": "\n".join(["environment:", *lines]),
        "null": "environment:",
        "flow": f"environment: {{{chosen[0][0]}: x}}",
        "block scalar": "\n".join(
            ["environment:", *lines, f"{pad}SCRIPT: |", f"{pad}  echo '# - x=y'", "", f"{pad}   done"]
        ),
        "merged": "\n".join(["environment:", f"{pad}<<: *common", *lines]),
    }[form]


@st.composite
def services(draw: st.DrawFn, image: str, width: int, anchor: str = "") -> list[str]:
    """The lines below a service's key."""
    keys = [
        f"image: {image}",
        *draw(st.lists(st.sampled_from(PLAIN_KEYS), max_size=3, unique_by=lambda key: key.split(":")[0])),
    ]
    if draw(st.booleans()):
        keys.append(
            draw(listed("volumes", draw(st.lists(st.sampled_from(VOLUMES), min_size=1, max_size=3, unique=True))))
        )
    if draw(st.booleans()):
        keys.append(draw(variables()))
    keys += draw(st.lists(st.just("<<: *shared"), max_size=1)) if anchor else []
    return [line for key in draw(st.permutations(keys)) for line in indented(key, width)]


@st.composite
def compose_files(draw: st.DrawFn) -> str:
    """A whole file; the bytes of the disk, decoded with surrogateescape."""
    width = draw(st.sampled_from([1, 2, 3, 4]))
    shared = draw(
        st.sampled_from(
            ["restart: always", "volumes:\n- ./config:/config", "environment:\n  TZ: UTC", "stop_grace_period: 5s"]
        )
    )
    head = ["x-shared: &shared", *indented(shared, width), "x-common: &common", *indented("LANG: C", width)]
    names = {"frigate": draw(st.sampled_from(FRIGATES)), "other": draw(st.sampled_from(NEIGHBOURS))}
    body = [draw(st.sampled_from(["services:", '"services":', "services:  # all"]))]
    for name in draw(st.permutations(list(names))):
        anchor = draw(st.sampled_from(["", "", "", "&nvr"])) if name == "frigate" else ""
        body += indented(f"{name}: {anchor}".rstrip(), width)
        lines = draw(services(names[name], 2 * width, anchor="yes"))
        if name == "other" and "&nvr" in "".join(body) and draw(st.booleans()):
            lines = [line for line in lines if "<<" not in line] + indented("<<: *nvr", 2 * width)
        body += lines
    tail = draw(st.sampled_from([[], ["volumes:", "  cache:"], ["..."], ["networks: {default: {}}", "", ""]]))
    lines = [*draw(st.sampled_from([[], ["---"], ["# one", "--- # two"]])), *head, *body, *tail]
    lines = with_noise(lines, draw(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(NOISE)), max_size=4)))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    text = end.join(lines) + draw(st.sampled_from([end, end, "", end * 3]))
    return draw(st.sampled_from(["", "", "\ufeff"])) + text


def with_noise(lines: list[str], noise: list[tuple[int, str]]) -> list[str]:
    """Blank lines and comments between the lines, wherever they are no part of a block scalar or a value's own lines."""
    found = list(lines)
    for place, text in noise:
        position = place % len(found)
        if re.match(r" *(- |\"?[\w&-]+\"?:)", found[position]) and not re.search(
            r"[|>]-?$", "".join(found[max(0, position - 1) : position])
        ):
            found.insert(position, text)
    return found


class _Strings(yaml.SafeLoader):  # type: ignore[misc]
    """PyYAML with every scalar as its text, merge keys resolved."""


_Strings.yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile("^<<$"))]}
_Strings.add_multi_constructor("", lambda loader, _suffix, node: _constructed(loader, node))


def _constructed(loader: Any, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


def as_pyyaml_reads(text: str) -> Any:
    """What the file means to PyYAML, which knows neither tabs in empty lines nor bytes that are no UTF-8."""
    lines = [re.sub(r"^[ \t]*\t[ \t]*(#.*)?$", "", line.rstrip("\r")) for line in text.lstrip("\ufeff").split("\n")]
    return yaml.load(re.sub("[\udc80-\udcff]", "?", "\n".join(lines)), Loader=_Strings)  # noqa: S506 (a SafeLoader)
