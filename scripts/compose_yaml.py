"""A strict reader of the YAML that compose files are written in: text in, nodes with their lines out.

Standard library only, Python 3.7: it runs on the user's Docker host, where no PyYAML may be. It resolves anchors, aliases
and merge keys as YAML does, and raises `YamlError` with the line for whatever it does not understand: what is built on
it compares files by their meaning, so a refusal is always right and a guess never is.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

NAMES_DEEP = 60
"""Nesting beyond this is no compose file."""
PROPERTY = re.compile(r"(?:(&)([\w.-]+)|(!)[\w.:/<>!-]*)(?=\s|$)")
ALIAS = re.compile(r"\*([\w.-]+)(?=[\s,\[\]{}]|$)")
PLAIN_KEY = re.compile(r"(?![\[\]{},#&*!|>'\"%@`]|[-?:](?:\s|$))((?:[^:#\t]|:(?=\S)|(?<=\S)#)+?) *:(?=\s|$)")
BLOCK_HEADER = re.compile(r"([|>])([+-]?[1-9]?|[1-9][+-])[ \t]*(?:[ \t]#.*)?$")
ESCAPES = dict(zip('0abt\tnvfre "/\\N_LP', '\0\a\b\t\t\n\v\f\r\x1b "/\\\x85\xa0\u2028\u2029'))


class YamlError(Exception):
    """The text is no YAML, or of a kind that is not understood; the text is a part of a sentence."""


class Scalar(NamedTuple):
    """A value as it is compared: `yes` and `"yes"` are not the same to every reader of YAML."""

    text: str
    style: str = ""
    tag: str = ""


NULL = Scalar("")


class Node:
    """A value and its place: lines `start` to `end` (counted from 0, both its own), first character in `column`."""

    def __init__(self, kind: str, start: int, column: int, style: str = "") -> None:
        self.kind, self.start, self.end, self.column, self.style = kind, start, start, column, style
        self.tag = ""
        self.is_bare = True  # neither anchor, tag nor alias
        self.text = ""
        self.entries: list[Entry] = []
        self.items: list[Node] = []

    @property
    def is_block(self) -> bool:
        """Whether lines may be added below it: a mapping or sequence that is written line by line."""
        return self.style == "block" and not self.tag

    @property
    def is_null(self) -> bool:
        """Whether nothing stands here."""
        return self.kind == "scalar" and not self.text and not self.style and self.is_bare

    def get(self, name: str) -> Node | None:
        """The value under this key of the mapping itself; merged keys are not looked into."""
        return next((entry.value for entry in self.entries if entry.name == name), None)


class Entry(NamedTuple):
    """A key of a mapping, the line that it stands in, and its value."""

    name: str
    is_merge: bool
    line: int
    value: Node


def split_lines(text: str) -> list[str]:
    """The lines with their ends, which are those of YAML and not those of `str.splitlines`."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def parse(text: str) -> Node:
    """Return the document's mapping. Raises YamlError."""
    lines = [line.rstrip("\r\n") if line.endswith(("\r\n", "\n")) else line for line in split_lines(text)]
    if lines and lines[0].startswith("\ufeff"):
        lines[0] = lines[0][1:]
    for number, line in enumerate(lines):
        if re.search("[\0-\x08\x0b-\x1f\x7f\x85\u2028\u2029\ufeff]", line):
            raise YamlError(f"line {number + 1} holds a control character")
    first, last = _document(lines)
    return _Reader(lines[:last], first, ends=text.endswith("\n") or last < len(lines)).document()


def _document(lines: list[str]) -> tuple[int, int]:
    """The lines of the one document between `---` and `...`."""
    first, last, has_begun = 0, len(lines), False
    for number, line in enumerate(lines):
        if re.match(r"---(\s|$)", line) and (has_begun or first):
            raise YamlError(f"line {number + 1} begins a second document")
        if re.match(r"---(\s|$)", line):
            if not re.match(r"---\s*(\s#.*)?$", line):
                raise YamlError(f"line {number + 1}: what stands behind '---' is not understood")
            first = number + 1
        elif re.match(r"\.\.\.(\s|$)", line):
            if any(_is_content(rest) for rest in [line[3:], *lines[number + 1 :]]):
                raise YamlError(f"line {number + 1} ends the document, and more comes after it")
            last = number
            break
        elif line.startswith("%") and not has_begun and not first:
            if not any(re.match(r"---(\s|$)", rest) for rest in lines[number:]):
                raise YamlError(f"line {number + 1} is not understood")
        elif _is_content(line) and not has_begun:
            has_begun = True
            if any(before.startswith("%") for before in lines[:number]) and not first:
                raise YamlError(f"line {number + 1} is not understood")
    return first, last


def _is_content(line: str) -> bool:
    """Whether the line is more than space and comment."""
    return bool(line.strip(" \t")) and not line.lstrip(" \t").startswith("#")


def _is_end(rest: str) -> bool:
    """Whether nothing but space and a comment follows; a comment needs a blank before it."""
    return re.match(r"(?:[ \t]+#.*|[ \t]*)$", rest) is not None


class _Reader:
    """Descends through the lines; `self.line` is the one that is read next."""

    def __init__(self, lines: list[str], first: int, *, ends: bool) -> None:
        self.lines, self.line = lines, first
        self.ends = ends  # whether the last line has a line end, which is a part of a block scalar
        self.anchors: dict[str, Node] = {}
        self.depth = 0

    def document(self) -> Node:
        node = self.block(-1)
        if self.skip() < len(self.lines):
            raise self.error("is not understood")
        return node

    def error(self, what: str, line: int | None = None) -> YamlError:
        return YamlError(f"line {(self.line if line is None else line) + 1} {what}")

    def skip(self) -> int:
        """Go to the next line with content."""
        while self.line < len(self.lines) and not _is_content(self.lines[self.line]):
            self.line += 1
        return self.line

    def indent(self) -> int:
        """The column of the next content; -1 at the end."""
        if self.skip() >= len(self.lines):
            return -1
        line = self.lines[self.line]
        column = len(line) - len(line.lstrip(" "))
        if line[column] == "\t":
            raise self.error("is indented with a tab, which YAML forbids")
        return column

    # -- collections of lines

    def block(self, parent: int, *, is_below_key: bool = False, line: int = 0, column: int = 0) -> Node:
        """What stands in the lines below, indented by more than `parent`; null when nothing does."""
        indent = self.indent()
        is_item = indent >= 0 and re.match(r"-(\s|$)", self.lines[self.line][indent:]) is not None
        if indent > parent or (is_below_key and is_item and indent == parent):
            return self.sequence(indent) if is_item else self.mapping_or_scalar(indent, parent)
        return Node("scalar", line, column)

    def enter(self) -> None:
        self.depth += 1
        if self.depth > NAMES_DEEP:
            raise self.error("is nested too deeply")

    def mapping_or_scalar(self, column: int, parent: int) -> Node:
        if self.key(column) is not None:
            return self.mapping(column)
        return self.value(column, parent)

    def sequence(self, column: int) -> Node:
        self.enter()
        node = Node("sequence", self.line, column, "block")
        is_first = True
        while is_first or self.indent() == column:
            line = self.lines[self.line]
            if not re.match(r"-(\s|$)", line[column:]):
                break
            is_first = False
            content = column + 1 + len(line[column + 1 :]) - len(line[column + 1 :].lstrip(" "))
            if _is_end(line[column + 1 :]):
                start = self.line
                self.line += 1
                item = self.block(column, line=start, column=column)
                item.start = start
            elif re.match(r"-(\s|$)", line[content:]):
                item = self.sequence(content)
            elif self.key(content) is not None:
                item = self.mapping(content)
            else:
                item = self.value(content, column)
            node.items.append(item)
            node.end = max(node.end, item.end)
        self.depth -= 1
        return node

    def mapping(self, column: int) -> Node:
        self.enter()
        node = Node("mapping", self.line, column, "block")
        is_first = True
        while is_first or self.indent() == column:
            found = self.key(column)
            if found is None:
                if re.match(r"-(\s|$)", self.lines[self.line][column:]):
                    break
                raise self.error("is not understood")
            is_first = False
            name, after, is_plain = found
            if any(entry.name == name for entry in node.entries):
                raise self.error(f"has the key '{name}' a second time")
            start = self.line
            value = self.value(after, column, is_below_key=True)
            node.entries.append(Entry(name, is_plain and name == "<<", start, value))
            node.end = max(node.end, start, value.end)
        if self.indent() > column:
            raise self.error("is indented in a way that is not understood")
        self.depth -= 1
        return node

    def key(self, column: int) -> tuple[str, int, bool] | None:
        """The key that stands here, the column after its colon, and whether it is without quotes; None for no key."""
        line = self.lines[self.line]
        if line[column] in "\"'":
            text, end_line, end = self.quoted(self.line, column)
            match = re.match(r" *:(?=\s|$)", line[end:]) if end_line == self.line else None
            return (text, end + match.end(), False) if match else None
        plain = PLAIN_KEY.match(line, column)
        return (plain.group(1), plain.end(), True) if plain else None

    # -- values

    def value(self, column: int, parent: int, *, is_below_key: bool = False) -> Node:
        """The value that begins in this line from this column on, or in the lines below."""
        start, anchor, tag = self.line, "", ""
        line = self.lines[start]
        while True:
            column += len(line[column:]) - len(line[column:].lstrip(" "))
            match = PROPERTY.match(line, column)
            if match is None:
                break
            if match.group(1) == "&":
                anchor = match.group(2)
            else:
                tag = match.group()
            column = match.end()
        if _is_end(line[column:]) or line[column] == "#":
            if column < len(line) and line[column] == "#" and line[column - 1] not in " \t":
                raise self.error("is not understood")
            self.line += 1
            node = self.block(parent, is_below_key=is_below_key, line=start, column=column)
        else:
            node = self.inline(column, parent, is_alone=not anchor and not tag)
        if anchor or tag:
            if node.kind == "alias":
                raise self.error("is not understood", start)
            node.is_bare, node.tag = False, tag
            if anchor:
                self.anchors[anchor] = node
        return node

    def inline(self, column: int, parent: int, *, is_alone: bool) -> Node:
        """The value whose first character is here."""
        line = self.lines[self.line]
        first = line[column]
        if first in "|>":
            return self.literal(column, parent)
        if first in "\"'":
            node = Node("scalar", self.line, column, first)
            node.text, node.end, end = self.quoted(self.line, column)
        elif first in "[{":
            node, end = self.flow(self.line, column)
        elif first == "*":
            node, end = self.alias(self.line, column)
        elif not is_alone and self.key(column) is not None:
            raise self.error("has an anchor or a tag before a key")
        else:
            return self.plain(column, parent)
        if not _is_end(self.lines[node.end][end:]):
            raise self.error("is not understood", node.end)
        self.line = node.end + 1
        return node

    def alias(self, line: int, column: int) -> tuple[Node, int]:
        match = ALIAS.match(self.lines[line], column)
        if match is None or match.group(1) not in self.anchors:
            raise self.error("names an anchor that is not there", line)
        node = Node("alias", line, column)
        node.is_bare = False
        node.items = [self.anchors[match.group(1)]]
        return node, match.end()

    def plain(self, column: int, parent: int) -> Node:
        """Words without quotes, which may go on in deeper lines."""
        node = Node("scalar", self.line, column)
        words = [self.words(self.line, column)]
        has_comment = "#" in self.lines[self.line][column + len(words[0]) :]
        self.line += 1
        number = self.line
        while number < len(self.lines) and not has_comment:
            line = self.lines[number]
            if line.strip(" \t"):
                indent = len(line) - len(line.lstrip(" "))
                if indent <= parent or line[indent] == "#":
                    break
                words += [""] * (number - self.line) + [self.words(number, indent)]
                has_comment = "#" in line[indent + len(words[-1]) :]
                node.end, self.line = number, number + 1
            number += 1
        node.text = "\n".join(words)
        return node

    def words(self, number: int, column: int) -> str:
        """The text of this line up to its comment. Raises YamlError for what is no plain scalar."""
        text = re.sub(r"[ \t]+#.*$", "", self.lines[number][column:]).rstrip(" \t")
        begins_well = re.match(r"(?![\[\]{},#&*!|>'\"%@`]|[-?:](?:\s|$))\S", text)
        if begins_well is None or "\t" in text or re.search(r":(\s|$)", text):
            raise self.error("is not understood", number)
        return text

    def literal(self, column: int, parent: int) -> Node:
        """A block scalar; kept as its lines stand, for it is compared and never changed."""
        match = BLOCK_HEADER.match(self.lines[self.line], column)
        if match is None:
            raise self.error("is not understood")
        node = Node("scalar", self.line, column, match.group(1) + match.group(2))
        given = re.sub(r"\D", "", match.group(2))
        indent = max(parent, 0) + int(given) if given else 0
        number = last = self.line + 1
        while number < len(self.lines):
            line = self.lines[number]
            spaces = len(line) - len(line.lstrip(" "))
            if line.strip(" "):
                if spaces <= parent or (indent and spaces < indent):
                    break
                indent = indent or spaces
                last = number + 1
            number += 1
        if "+" in match.group(2):
            last = number
        node.text = "\n".join(line[indent:] for line in self.lines[self.line + 1 : last])
        if "-" not in match.group(2) and (self.ends or last < len(self.lines)):
            node.text += "\n"
        node.end, self.line = last - 1, last
        return node

    def quoted(self, number: int, column: int) -> tuple[str, int, int]:
        """The text in quotation marks from here on, the line of its end, and the column after it."""
        quote, text, start = self.lines[number][column], "", number
        column += 1
        while number < len(self.lines):
            line = self.lines[number]
            while column < len(line):
                if line[column] == quote:
                    if quote == "'" and line[column + 1 : column + 2] == "'":
                        text, column = text + "'", column + 2
                        continue
                    return text, number, column + 1
                if quote == '"' and line[column] == "\\" and column + 1 < len(line):
                    added, column = self.escaped(number, column)
                    text += added
                else:
                    text, column = text + line[column], column + 1
            text, number, column = text.rstrip(" \t") + "\n", number + 1, 0
            if number < len(self.lines):
                column = len(self.lines[number]) - len(self.lines[number].lstrip(" \t"))
        raise self.error("opens a quotation mark that nothing closes", start)

    def escaped(self, number: int, column: int) -> tuple[str, int]:
        line = self.lines[number]
        letter = line[column + 1]
        length = {"x": 2, "u": 4, "U": 8}.get(letter)
        if length is not None:
            digits = line[column + 2 : column + 2 + length]
            if not re.match(r"[0-9a-fA-F]+$", digits) or len(digits) < length or int(digits, 16) > 0x10FFFF:
                raise self.error("holds an escape that is not understood", number)
            return chr(int(digits, 16)), column + 2 + length
        if letter not in ESCAPES:
            raise self.error("holds an escape that is not understood", number)
        return ESCAPES[letter], column + 2

    # -- the flow style: [a, b] and {a: b}

    def flow(self, number: int, column: int) -> tuple[Node, int]:
        """A collection in brackets, and the column after it; its `end` is the line of the last bracket."""
        self.enter()
        is_mapping = self.lines[number][column] == "{"
        node = Node("mapping" if is_mapping else "sequence", number, column, "flow")
        number, column = self.flow_skip(number, column + 1)
        while self.lines[number][column] not in "]}":
            item, number, column = self.flow_item(number, column)
            number, column = self.flow_skip(number, column)
            if is_mapping:
                number, column = self.flow_pair(node, item, number, column)
            else:
                node.items.append(item)
            if self.lines[number][column] == ",":
                number, column = self.flow_skip(number, column + 1)
            elif self.lines[number][column] not in "]}":
                raise self.error("is not understood", number)
        if self.lines[number][column] != "]}"[is_mapping]:
            raise self.error("closes another bracket than was opened", number)
        node.end = number
        self.depth -= 1
        return node, column + 1

    def flow_pair(self, node: Node, key: Node, number: int, column: int) -> tuple[int, int]:
        """Take the value after the key's colon, if there is one."""
        if (
            key.kind != "scalar"
            or not key.is_bare
            or key.end != key.start
            or any(entry.name == key.text for entry in node.entries)
        ):
            raise self.error("has a key that is not understood, or one twice", number)
        value = Node("scalar", number, column)
        if self.lines[number][column] == ":":
            number, column = self.flow_skip(number, column + 1)
            if self.lines[number][column] not in ",}":
                value, number, column = self.flow_item(number, column)
                number, column = self.flow_skip(number, column)
        node.entries.append(Entry(key.text, not key.style and key.text == "<<", key.start, value))
        return number, column

    def flow_item(self, number: int, column: int) -> tuple[Node, int, int]:
        first = self.lines[number][column]
        if first in "[{":
            node, column = self.flow(number, column)
            return node, node.end, column
        if first in "\"'":
            node = Node("scalar", number, column, first)
            node.text, node.end, column = self.quoted(number, column)
            return node, node.end, column
        if first == "*":
            node, column = self.alias(number, column)
            return node, number, column
        text = re.compile(r"(?![#&!|>%@`]|[-?:](?:[\s,\[\]{}]|$))(?:[^:#\t,\[\]{}]|:(?=[^\s,\[\]{}])|(?<=\S)#)+")
        match = text.match(self.lines[number], column)
        if match is None:
            raise self.error("is not understood", number)
        node = Node("scalar", number, column)
        node.text = match.group().rstrip(" ")
        return node, number, match.end()

    def flow_skip(self, number: int, column: int) -> tuple[int, int]:
        """The place of the next character that is no space and no comment."""
        while number < len(self.lines):
            rest = self.lines[number][column:]
            column += len(rest) - len(rest.lstrip(" "))
            if column < len(self.lines[number]):
                is_comment = self.lines[number][column] == "#" and (
                    column == 0 or self.lines[number][column - 1] == " "
                )
                if not is_comment:
                    return number, column
            number, column = number + 1, 0
        raise YamlError("a bracket is opened that nothing closes")


# -- what it means --------------------------------------------------------------------------------------------------


def meaning(node: Node, without: frozenset[int] = frozenset()) -> Any:
    """Return mappings, lists and `Scalar`s, with aliases and merge keys resolved.

    Keys and items that begin in a line of `without` are left out, as if the line were not there.
    """
    if node.kind == "alias":
        return meaning(node.items[0], without)
    if node.kind == "scalar":
        return Scalar(node.text, node.style, node.tag)
    if node.kind == "sequence":
        items = [meaning(item, without) for item in node.items if item.start not in without]
        return _tagged(items, node) if items or node.style == "flow" else NULL
    kept = [entry for entry in node.entries if entry.line not in without]
    found: dict[str, Any] = {}
    for entry in kept:
        if entry.is_merge:
            sources = entry.value.items if entry.value.kind == "sequence" else [entry.value]
            for merged in reversed([meaning(source, without) for source in sources]):
                if not isinstance(merged, dict):
                    raise YamlError(f"line {entry.line + 1} merges what is no mapping")
                found.update(merged)
    found.update((entry.name, meaning(entry.value, without)) for entry in kept if not entry.is_merge)
    return _tagged(found, node) if found or node.style == "flow" else NULL


def _tagged(value: Any, node: Node) -> Any:
    return {f"\0{node.tag}": value} if node.tag else value
