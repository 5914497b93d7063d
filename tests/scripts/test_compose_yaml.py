"""The strict reader of YAML beside PyYAML: what it accepts means the same to both, and the rest it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from compose_yaml import Scalar, YamlError, meaning, parse
from scripts.compose_files import as_pyyaml_reads, compose_files

ROOT = Path(__file__).parents[2]
ODD = ("\t", "\n", " ", "#", ":", "-", "'", '"', "[", "]", "{", "}", ",", "&a ", "*a", "!t ", "|", ">", "? ", "<<: *a", ": ", "\n- ", "\n  ", "%", "---\n", "...", "\r", "\\", "\0", "\u2028")  # fmt: skip


def words(value: Any) -> Any:
    """The value with every scalar as text, however its lines are folded."""
    if isinstance(value, dict):
        untagged = next((item for name, item in value.items() if name.startswith("\0")), None)
        return words(untagged) if untagged is not None else {name: words(item) for name, item in value.items()}
    if isinstance(value, list):
        return [words(item) for item in value]
    text = value.text if isinstance(value, Scalar) else value
    return re.sub(r"\s+", " ", text or "").strip()


@settings(max_examples=150, deadline=None)
@given(compose_files())
def test_both_read_the_same(text: str) -> None:
    """Anchors, merge keys, block scalars, brackets, quotation marks, CRLF."""
    assert words(meaning(parse(text))) == words(as_pyyaml_reads(text))


@settings(max_examples=150, deadline=None)
@given(
    compose_files(),
    st.lists(st.tuples(st.integers(0), st.integers(0, 3), st.sampled_from(ODD)), min_size=1, max_size=4),
)
def test_what_is_accepted_of_a_spoilt_file_means_the_same(text: str, spoilt: list[tuple[int, int, str]]) -> None:
    """Nothing but YamlError is raised, and nothing is guessed."""
    for place, length, odd in spoilt:
        at = place % (len(text) + 1)
        text = text[:at] + odd + text[at + length :]
    try:
        found = meaning(parse(text))
    except YamlError:
        return
    try:
        other = as_pyyaml_reads(text)
    except yaml.YAMLError:
        return  # PyYAML knows no tab behind a value, and no anchor twice
    assert words(found) == words(other)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet="ab:- \n#[]{},&*!|>'\"?<\\", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """One exception, whatever comes."""
    try:
        meaning(parse(text))
    except YamlError:
        return


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\na: 2\n", "line 2 has the key 'a' a second time"),
        ("a: {b: 1, b: 2}\n", "one twice"),
        ("a:\n\tb: 1\n", "indented with a tab"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("---\na: 1\n---\n", "second document"),
        ("a: 1\n...\nb: 2\n", "more comes after it"),
        ("? a\n: b\n", "line 1 is not understood"),
        ("a: *b\n", "an anchor that is not there"),
        ("a: &a [*a]\n", "an anchor that is not there"),
        ("a: 'b\n", "nothing closes"),
        ("a: [b\n", "nothing closes"),
        ("a: [b}\n", "another bracket"),
        ("a: b: c\n", "is not understood"),
        ("a: @b\n", "is not understood"),
        ("a: 1\rb: 2\n", "control character"),
        ("a: 1\u2028b: 2\n", "control character"),
        ("s\0e\0r\0", "control character"),
        ("a: [" + "[" * 5000, "too deeply"),
        ("".join(f"{' ' * n}a:\n" for n in range(500)), "too deeply"),
        ("<<: text\n", "merges what is no mapping"),
        ("a:\n    b: 1\n  c: 2\n", "line 3"),
    ],
)
def test_what_is_refused_is_told_with_its_line(text: str, sentence: str) -> None:
    """A part of a sentence for the user."""
    with pytest.raises(YamlError, match=re.escape(sentence)):
        meaning(parse(text))


def test_the_projects_own_files_are_read() -> None:
    """The example for users and the add-on's description, as PyYAML reads them."""
    for path in (ROOT / "docker-compose.yml", ROOT / "deploy/home-assistant/config.yaml"):
        text = path.read_text(encoding="utf-8")
        assert words(meaning(parse(text))) == words(as_pyyaml_reads(text))
