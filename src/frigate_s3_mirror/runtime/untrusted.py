"""The gate for values from outside: each passes as a plain, finite, bounded Python value, or is refused with a reason.

Frigate's rows and API, MQTT, object metadata, heartbeats, listings and state files are all written by programs that may be
older, newer, broken or hostile. Whoever reads them calls these functions and catches `RefusedValueError`; no other
exception leaves this module, whatever comes in.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime

LATEST_TIME = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Unix seconds from which no date can be made in every time zone."""
EARLIEST_TIME = -86400.0
"""Unix seconds; a board without a clock starts in 1970, and Frigate sets a manual event's start five seconds back."""
LONGEST_TEXT = 1024
"""Characters of a name, label or id; Frigate's own columns are shorter."""
LONGEST_JSON = 4 * 1024 * 1024
"""Characters of a JSON text; the longest real one, an object's path over days, has some hundred thousand."""
_SHOWN = 60  # characters of a refused value that its reason repeats


class RefusedValueError(ValueError):
    """A value from outside is not what it should be; the text says what is wrong, fit to follow the item's name."""


def parse_json(text: str | bytes, *, longest: int = LONGEST_JSON, keep_constants: bool = False) -> object:
    """Return the value of a JSON text. Numbers may still be beyond a float's range: pass them through `number`.

    `keep_constants` lets NaN and Infinity through, which are no JSON: for lists of which only the items that hold them
    are to be refused, by `number`.

    Raises:
        RefusedValueError: no JSON, not UTF-8, nested too deeply, longer than `longest`, or it holds NaN or Infinity.
    """
    if len(text) > longest:
        raise RefusedValueError(f"JSON of {len(text)} characters is too long")
    try:
        return json.loads(text, parse_constant=float if keep_constants else _refuse_constant)
    except RefusedValueError:
        raise
    except RecursionError as error:
        raise RefusedValueError("JSON is nested too deeply") from error
    except ValueError as error:  # UnicodeDecodeError and integers of thousands of digits among them
        raise RefusedValueError("is no valid JSON") from error


def number(value: object) -> float:
    """Return a finite float. Booleans are no numbers; text counts where it spells one, as SQLite's columns may hold it.

    Raises:
        RefusedValueError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RefusedValueError(f"{shown(value)} is no number")
    try:
        found = float(value)
    except (ValueError, OverflowError) as error:
        raise RefusedValueError(f"{shown(value)} is no number") from error
    if not math.isfinite(found):
        raise RefusedValueError(f"{shown(value)} is no finite number")
    return found


def unix_time(value: object) -> float:
    """Return unix seconds of which a date can be made in every time zone.

    Raises:
        RefusedValueError: no number, or none that can be a time in seconds (milliseconds, for one).
    """
    seconds = number(value)
    if not EARLIEST_TIME <= seconds < LATEST_TIME:
        raise RefusedValueError(f"{shown(value)} is no time in unix seconds")
    return seconds


def time_or_none(value: object) -> float | None:
    """Return `unix_time` of the value, None where it is none."""
    try:
        return unix_time(value)
    except RefusedValueError:
        return None


def text(value: object, *, longest: int = LONGEST_TEXT) -> str:
    """Return text that can be stored, sent and shown as UTF-8; numbers become their usual spelling.

    Raises:
        RefusedValueError: not text, lone surrogates, NUL characters, or longer than `longest`.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RefusedValueError(f"{shown(value)} is no text")
    try:
        found = str(value)
        found.encode()
    except ValueError as error:  # a lone surrogate, or an integer of thousands of digits
        raise RefusedValueError(f"{shown(value)} is no valid text") from error
    if len(found) > longest:
        raise RefusedValueError(f"text of {len(found)} characters is too long")
    if "\0" in found:
        raise RefusedValueError(f"{shown(value)} holds a NUL character")
    return found


def any_text(value: object, *, longest: int = LONGEST_TEXT) -> str:
    """Return text that can be stored, sent and shown as UTF-8, whatever the value is: for what must not refuse an item.

    What is no valid text is escaped. What is too long ends in a digest, so that two that differ stay different.
    """
    if isinstance(value, bytes):
        found = value.decode("utf-8", "backslashreplace")
    elif isinstance(value, str):
        found = value.encode("utf-8", "backslashreplace").decode()
    else:
        found = shown(value)[1:-1]
    found = found.replace("\0", "\\x00")
    if len(found) > longest:
        digest = hashlib.sha256(found.encode()).hexdigest()[:8]
        found = f"{found[: longest - 12]}...~{digest}"
    return found


def decoded(raw: bytes) -> str:
    """Return a column's text as it is, bytes that are no UTF-8 as lone surrogates: `text` refuses them, nothing raises.

    To be set as `text_factory` of a connection to a database that others write: by default one row that holds such
    bytes makes the whole page unreadable.
    """
    return raw.decode("utf-8", "surrogateescape")


def single_line(value: object) -> str:
    """Return the text with everything escaped that could start a line or steer a terminal; printable text stays."""
    found = value if isinstance(value, str) else str(value)
    if found.isprintable():
        return found
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in found)


def shown(value: object) -> str:
    """Return the value as a reason may repeat it: one short printable line, quoted."""
    try:
        found = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; a container nested too deeply
        found = f"a {type(value).__name__}"
    found = found if len(found) <= _SHOWN else f"{found[:_SHOWN]}..."
    return f"'{single_line(found)}'"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _refuse_constant(name: str) -> object:
    raise RefusedValueError(f"JSON holds {name}, which is no number")
