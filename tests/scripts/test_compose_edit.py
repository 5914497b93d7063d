"""Lines for the mirror in compose files of many hands: added where they belong, and gone again byte for byte."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import compose_edit as editor
from compose_service import MOUNT, PATCH, TARGET, ComposeError, is_frigate, mount
from compose_yaml import split_lines
from scripts.compose_files import as_pyyaml_reads, compose_files

ROOT = Path(__file__).parents[2]
MARK = "# added by setup_s3_mirror.sh"

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
        ("services:\n  frigate:\n    image: frigate\n    {{ templated }}\n", "is not understood"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_left_alone(shape: str, sentence: str) -> None:
    """One sentence, and no guess."""
    with pytest.raises(ComposeError, match=sentence.replace("?", r"\?")):
        editor.add(shape, None, MARK)


def test_a_service_can_be_named_and_mounts_be_found() -> None:
    """For files with several Frigates, and for the backup of state files."""
    two = "services:\n  a:\n    image: frigate\n  b:\n    image: frigate:2\n"
    assert "stop_grace_period" in editor.add(two, "b", MARK).split("  b:")[1]
    assert mount(text(LIST), None, "/media/frigate") == "/mnt/nas/frigate"
    with pytest.raises(ComposeError, match="nothing of the host"):
        mount(text(BARE), None, "/media/frigate")


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


# -- by meaning ------------------------------------------------------------------------------------------------------


def with_the_lines(before: Any, service: str) -> Any:
    """What the file is to mean after: the mount, the path and the grace period where they are missing, nothing else."""
    after = copy.deepcopy(before)
    found = after["services"][service] = dict(after["services"][service])
    found.setdefault("stop_grace_period", "30s")
    found["volumes"] = [*(found.get("volumes") or []), MOUNT]
    environment = found.get("environment") or []
    if isinstance(environment, dict):
        found["environment"] = {**environment, "PYTHONPATH": PATCH}
    else:
        found["environment"] = [*environment, f"PYTHONPATH={PATCH}"]
    return after


def tried(before: str) -> str | None:
    """The text after adding, checked by PyYAML and by removing again; None for a refusal."""
    try:
        after = editor.add(before, None, MARK)
    except ComposeError:
        return None
    assert as_pyyaml_reads(after) == with_the_lines(as_pyyaml_reads(before), "frigate")
    assert editor.remove(after, MARK) == before
    assert editor.add(after, None, MARK) == after
    return after


@settings(max_examples=100, deadline=None)
@given(compose_files())
def test_exactly_the_intended_is_added_or_nothing(before: str) -> None:
    """For every service of the file, in the eyes of another reader; and the way back gives the same bytes."""
    tried(before)


@settings(max_examples=100, deadline=None)
@given(
    compose_files(),
    st.lists(
        st.tuples(st.integers(0), st.integers(0, 3), st.sampled_from([" ", "\n", "  ", ":", "- ", "#", "&a ", "\t"])),
        max_size=3,
    ),
)
def test_a_spoilt_file_is_edited_rightly_or_left_alone(before: str, spoilt: list[tuple[int, int, str]]) -> None:
    """A character too many or too few anywhere."""
    for place, length, odd in spoilt:
        at = place % (len(before) + 1)
        before = before[:at] + odd + before[at + length :]
    try:
        as_pyyaml_reads(before)["services"]["frigate"]["image"]
    except (yaml.YAMLError, KeyError, TypeError):
        return  # the oracle has no say
    tried(before)


@settings(max_examples=150, deadline=None)
@given(compose_files(), st.data())
def test_what_users_add_below_our_lines_survives_the_removal(before: str, data: st.DataObject) -> None:
    """Their items below ours, in any number and place, mean the same after --uninstall."""
    after = tried(before)
    if after is None:
        return
    own = data.draw(
        st.permutations([("PYTHONPATH", "- TZ=Europe/Rome", "TZ2: Europe/Rome"), (MOUNT, "- ./more:/more", "")])
    )
    lines = split_lines(after if after.endswith("\n") else after + "\n")
    for ours, item, pair in own[: data.draw(st.integers(1, 2))]:
        number = next(n for n, line in enumerate(lines) if MARK in line and ours in line)
        pad, is_item = re.match(r" *", lines[number]).group(), lines[number].lstrip().startswith("-")  # type: ignore[union-attr]
        lines.insert(number + data.draw(st.integers(0, 1)), f"{pad}{item if is_item else pair}\n")
    changed = "".join(lines)
    with_users_items = as_pyyaml_reads(changed)
    removed = as_pyyaml_reads(editor.remove(changed, MARK))
    expected = with_users_items["services"]["frigate"]
    found = removed["services"]["frigate"]
    assert (found.get("volumes") or []) == [item for item in expected["volumes"] if item != MOUNT]
    environment = expected["environment"]
    if isinstance(environment, dict):
        assert (found.get("environment") or {}) == {
            name: value for name, value in environment.items() if name != "PYTHONPATH"
        }
    else:
        assert (found.get("environment") or []) == [item for item in environment if "PYTHONPATH" not in item]
    assert MARK not in editor.remove(changed, MARK)


HEAD = "services:\n  frigate:\n    image: ghcr.io/blakeblackshear/frigate:stable\n"


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        ("x-a: &a\n  volumes:\n    - ./c:/config\n" + HEAD + "    <<: *a\n", "'volumes' comes from an anchor \\(line 3\\)"),
        ("x-a: &a\n  environment:\n    TZ: UTC\n" + HEAD + "    <<: [*a]\n", "'environment' comes from an anchor"),
        ("x-e: &e\n  TZ: UTC\n" + HEAD + "    environment: *e\n", "not written as a block"),
        (HEAD.replace("frigate:\n", "frigate: &f\n", 1) + "  second:\n    <<: *f\n    image: other\n", "something else"),
        (HEAD.replace("frigate:\n", "frigate: &f\n", 1) + "  second: *f\n", "which service|something else"),
        (HEAD + "    environment: &e\n      TZ: UTC\n  second:\n    image: b\n    environment: *e\n", "something else"),
        (HEAD + "    volumes: &v\n    - a:/b\n  second:\n    image: b\n    volumes: *v\n", "something else"),
        (HEAD + "    extends:\n      file: base.yml\n      service: nvr\n", "extends another one"),
        (HEAD + "  second:\n    image: b\n    extends: frigate\n", "'second' extends 'frigate'"),
        (HEAD + "  second:\n    image: b\n    extends: {service: frigate}\n", "'second' extends 'frigate'"),
        (HEAD + "---\nservices:\n  b:\n    image: c\n", "second document"),
        (HEAD + "    volumes: !override\n      - a:/b\n", "not written as a block"),
        (HEAD + "    environment: {TZ: UTC}\n", "not written as a block"),
        (HEAD + "    image: again\n", "a second time"),
        ('{"services": {"frigate": {"image": "frigate"}}}', "not written as a block"),
        ("services: {frigate: {image: frigate}}\n", "not written as a block"),
        ("include:\n  - nvr.yml\n", "'include' are not looked into"),
        ("x: &s\n  image: frigate\nservices:\n  frigate: *s\n", "not written as a block"),
        (HEAD + "    environment:\n      PYTHONPATH: /mine\n", "PYTHONPATH is set already"),
        (HEAD + "    volumes: >-\n      text\n", "not written as a block"),
        ("# \x85\n" + HEAD, "control character"),
        ("\t\n" + HEAD + "    environment:\n      A: |\n        text without an end", "something else"),
    ],
)  # fmt: skip
def test_where_anything_else_would_change_it_refuses(before: str, sentence: str) -> None:
    """What Frigate has today, its config, media and passwords, is worth more than our lines."""
    with pytest.raises(ComposeError, match=sentence):
        editor.add(before, None, MARK)


@pytest.mark.parametrize(
    "before",
    [
        "x-a: &a\n  restart: always\n"
        + HEAD
        + "    <<: *a\n    volumes:\n    - a:/b\n    environment:\n      TZ: UTC\n",
        "x-a: &a\n  TZ: UTC\n"
        + HEAD
        + "    volumes: &unused\n      - a:/b\n    environment:\n      <<: *a\n      B: c\n",
        "x-l: &l {driver: none}\n"
        + HEAD.replace("frigate:\n", "frigate: &unused\n", 1)
        + "    logging: *l\n  b:\n    image: c\n    logging: *l\n",
        HEAD + "  a:\n    image: c\n    extends: b\n  b:\n    image: d\n",
    ],
)
def test_anchors_that_nothing_of_ours_touches_are_no_hindrance(before: str) -> None:
    """They are read, not feared."""
    assert tried(before) is not None


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("ghcr.io/blakeblackshear/frigate:stable", True), ("frigate", True), ("a.b:5000/c/frigate:1@sha256:ab", True),
        ("frigate@sha256:ab", True), ("ghcr.io/0x2142/frigate-notify:latest", False), ("me/my-frigate", False),
        ("frigate-s3-mirror", False), ("frigate/notify", False), ("frigate:5000/mqtt", False), ("", False),
    ],
)  # fmt: skip
def test_a_frigate_is_known_by_the_last_part_of_its_image(image: str, expected: bool) -> None:
    """Not by letters somewhere in the name."""
    assert is_frigate(image) is expected


@pytest.mark.parametrize("shape", ["list", "mapping"])
@pytest.mark.parametrize("name", ["S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_REGION", "S3_ENDPOINT_URL"])
def test_hints_are_left_out_for_exact_names_only(name: str, shape: str) -> None:
    """`LITESTREAM_S3_BUCKET` is no `S3_BUCKET`; `S3_BUCKET_FILE` is one, and so is one in an env file."""

    def environment(variable: str) -> str:
        return f"    environment:\n      {editor.assignment(variable, 'x', as_list=shape == 'list')}\n"

    def hint(text: str, from_files: set[str] | None = None) -> bool:
        return re.search(rf"# (- )?{name}[=:]", editor.add(HEAD + text, None, MARK, from_files or set())) is not None

    for other in (f"LITESTREAM_{name}", f"{name}_OLD", f"X{name}", f"MY_{name}_FILE"):
        assert hint(environment(other)), other
    for same in (name, f"{name}_FILE"):
        assert not hint(environment(same)), same
        assert not hint("", {same}), same


def test_a_path_of_pythons_in_an_env_file_is_not_hidden() -> None:
    """`environment` goes before `env_file`."""
    with pytest.raises(ComposeError, match="PYTHONPATH is set already"):
        editor.add(HEAD, None, MARK, {"PYTHONPATH"})


def test_a_line_that_a_user_made_of_ours_stays() -> None:
    """Copied with its mark, or changed to something of his own."""
    after = editor.add(HEAD, None, MARK)
    changed = after.replace("stop_grace_period: 30s", "stop_grace_period: 2m").replace(
        f"      - PYTHONPATH=/opt/s3-mirror/patch  {MARK}",
        f"      - PYTHONPATH=/opt/s3-mirror/patch:/mine  {MARK}\n      - TZ=Asia/Tokyo  {MARK}",
    )
    found = as_pyyaml_reads(editor.remove(changed, MARK))["services"]["frigate"]
    assert found["stop_grace_period"] == "2m"
    assert found["environment"] == ["PYTHONPATH=/opt/s3-mirror/patch:/mine", "TZ=Asia/Tokyo"]


def test_a_comment_of_the_users_that_ends_in_the_mark_stays() -> None:
    """It only speaks of our lines."""
    before = f"# to be removed some day: all that ends in {MARK}\n" + HEAD
    assert editor.remove(editor.add(before, None, MARK), MARK) == before


def test_filled_in_lines_go() -> None:
    """As the docs say: the '#' is removed, the value written, and --uninstall takes all of it back."""
    filled = editor.add(HEAD, None, MARK).replace("# - S3_BUCKET=your-bucket-name", "- S3_BUCKET=snaps")
    assert as_pyyaml_reads(filled)["services"]["frigate"]["environment"][1] == "S3_BUCKET=snaps"
    assert editor.remove(filled, MARK) == HEAD


def test_a_file_that_is_no_yaml_any_more_is_left_to_its_owner() -> None:
    """The lines are named."""
    broken = editor.add(HEAD, None, MARK) + "    {{ templated }}\n"
    with pytest.raises(ComposeError, match=r"remove the lines 3, 4, 5"):
        editor.remove(broken, MARK)


@pytest.mark.parametrize(
    ("shape", "line"), [("list", "  - S3_BUCKET=your-bucket-name"), ("mapping", "  S3_BUCKET: your-bucket-name")]
)
def test_lines_to_add_by_hand_have_the_files_own_form(shape: str, line: str) -> None:
    """Only what is missing, in a list or as a mapping."""
    environment = f"    environment: *e\n    volumes: [a:/b, 'x:{TARGET}:ro']\n"
    before = f"x-e: &e {'[A=b]' if shape == 'list' else '{A: b}'}\n" + HEAD + environment
    lines = editor.by_hand(before, None)
    assert line in lines
    assert "volumes:" not in lines
    assert "stop_grace_period: 30s" in lines
