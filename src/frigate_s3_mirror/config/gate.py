"""The gate that the text of every setting passes: what cannot be meant is refused, with the cure, and never repeated.

The rule is the same for all variables: refuse, never mend. A value in quotation marks could be stripped, but then a
secret that was wrongly copied would look right, and the next program that reads the same file would still see them.
A refusal is the end of a sentence that begins with the variable's name.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

LONGEST_VALUE = 65536
"""Characters of a value, and bytes of a file that holds one."""
_QUOTES = {
    '"': '"',
    "'": "'",
    "`": "`",
    "\N{LEFT DOUBLE QUOTATION MARK}": "\N{RIGHT DOUBLE QUOTATION MARK}",
    "\N{DOUBLE LOW-9 QUOTATION MARK}": "\N{LEFT DOUBLE QUOTATION MARK}",
    "\N{LEFT SINGLE QUOTATION MARK}": "\N{RIGHT SINGLE QUOTATION MARK}",
    "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}": "\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}",
}
"""Each opening mark with its closing one."""
_CLOSING = frozenset(_QUOTES.values())
_INVISIBLE = frozenset("\u00ad\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")
"""Characters without a width that come along when text is copied. Those that join emoji and letters are not among them."""
_PLACEHOLDERS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"your[-_ ](own[-_ ])?((s3|aws|minio|r2|b2|mqtt|frigate)[-_ ])?"
        r"(access|secret|bucket|key|region|endpoint|prefix|user|username|password|pass|token|uuid|id|url|topic|site|name)"
        r"([-_ ](access|secret|bucket|key|name|id|here|goes))*",
        r"(bucket|access[-_]key|secret[-_]key)[-_](name|id)?[-_]?here",
        r"akia[a-z0-9]{9}example|wjalrxutnfemi/k7mdeng[/+]bpxrficyexamplekey",
        r"<[^<>]*>|\$\{[^{}]*\}|\$\([^()]*\)|\{\{[^{}]*\}\}|!(secret|env_var)\s+\S+",
        r"\.{3,}|…|x{3,}|\*{3,}",
    )
)
_TO_BE_CHANGED = re.compile(r"(change|replace)[-_ ]?(me|this|it)!?", re.IGNORECASE)
"""A placeholder, too, but also what some people's passwords really are."""
_PLACEHOLDER_INSIDE = re.compile(
    r"(?<![a-z0-9])your[-_](uuid|token|topic|bucket|key|password)(?![a-z0-9])", re.IGNORECASE
)
"""What stands for a part of an address in examples."""


class Form(Enum):
    """What is written in a value, as far as the gate must know."""

    WORD = "word"
    ADDRESS = "address"
    ADDRESSES = "addresses"
    """Several, with white space between them."""
    LIST = "list"
    """Items with commas between them."""
    FREE = "free"
    """A name or secret that somebody made up: quotation marks may be in it, only not around it."""
    PASSWORD = "password"  # noqa: S105  # a form
    """The same, of another program, which may well have kept its first one."""


def gated(text: str, form: Form = Form.WORD, cure: str = "write the value without them") -> str:
    """Return the value without white space around it. `cure` says how to write it without quotation marks.

    Raises:
        ValueError: with the end of a sentence, in which the value does not occur.
    """
    value = text.strip()
    if len(value) > LONGEST_VALUE:
        raise ValueError(f"is longer than {LONGEST_VALUE:,} characters; is it the right text?")
    _refuse_characters(value, may_break=form in {Form.LIST, Form.ADDRESSES})
    parts = {Form.LIST: value.split(","), Form.ADDRESSES: value.split()}.get(form, [])
    if form is Form.LIST and any("\n" in part.strip() or "\r" in part.strip() for part in parts):
        raise ValueError("holds a line break within an item; put commas between items")
    for part in (value, *(part.strip() for part in parts)):
        if _has_quotes(part, form):
            raise ValueError(f"has quotation marks as part of its value, which compose's list form keeps; {cure}")
        if _is_placeholder(part, form):
            raise ValueError("is still the placeholder of an example; put your own value in its place")
    return value


def is_weak(value: str) -> bool:
    """Whether a password looks like one that was to be changed."""
    return _TO_BE_CHANGED.fullmatch(value) is not None


def read_value(path: str) -> str:
    """Return the text of a file that holds a value; a byte order mark at its beginning is none of it.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read.
        ValueError: with the end of a sentence, when it is no file of a value.
    """
    if "\0" in path:
        raise ValueError("is no path")
    with Path(path).open("rb") as file:
        content = file.read(LONGEST_VALUE + 1)
    if len(content) > LONGEST_VALUE:
        raise ValueError(f"is longer than {LONGEST_VALUE:,} bytes")
    return content.decode("utf-8-sig")


def _refuse_characters(value: str, *, may_break: bool) -> None:
    for letter in value:
        if "\ud800" <= letter <= "\udfff":
            raise ValueError("holds bytes that are not UTF-8; type it anew")
        if letter in "\r\n\t" and may_break:
            continue
        if letter in "\r\n":
            raise ValueError("holds a line break; write it in one line")
        if letter < " " or "\x7f" <= letter < "\xa0":
            raise ValueError(f"holds a control character (U+{ord(letter):04X}); type it anew")
        if letter in _INVISIBLE:
            raise ValueError(
                f"holds an invisible character (U+{ord(letter):04X}), which copied text may bring along; type it anew"
            )


def _has_quotes(part: str, form: Form) -> bool:
    bare = part.removeprefix("!").strip("[]").strip() if form is Form.LIST else part
    first, last = bare[:1], bare[-1:]
    if first in _QUOTES and last in {_QUOTES[first], first}:
        return True
    may_be_torn = form in {Form.FREE, Form.PASSWORD}
    return not may_be_torn and (first in _QUOTES or last in _CLOSING)


def _is_placeholder(part: str, form: Form) -> bool:
    if any(pattern.fullmatch(part) for pattern in _PLACEHOLDERS):
        return True
    if form in {Form.ADDRESS, Form.ADDRESSES} and _PLACEHOLDER_INSIDE.search(part):
        return True
    return form is not Form.PASSWORD and is_weak(part)
