"""What must follow from every answer: written down from the promises, not from the code.

"An event is done when S3 said so", so: uploaded is what S3 proved. Nothing else loses, counts or repeats what it need not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from answers.told import ANSWERS, SPOILED, UNKNOWN, Answer
from frigate_s3_mirror.retry import ErrorClass

T, C, O = ErrorClass.TRANSIENT, ErrorClass.CONFIGURATION, ErrorClass.OBJECT  # noqa: E741


class Rights(StrEnum):
    """What the key may do besides putting."""

    PUT = "put only"
    READ = "put, read"
    LIST = "put, read, list"


class Bucket(StrEnum):
    """What it is like; locked ones ask for a checksum."""

    PLAIN, VERSIONED, LOCKED = "plain", "versioned", "locked"


class What(StrEnum):
    """What is sent, and for large ones which of the requests is answered. Exports: there are none yet."""

    SNAPSHOT, LIVE, SEGMENT = "snapshot", "live", "segment"
    UNCONDITIONAL = "snapshot, where there are no conditions"
    BEGIN, PART, END = "large: its begin", "large: a part", "large: its end"


class Moment(StrEnum):
    """Whether it is tried for the first time, or a kill lost the answer to the first try, which S3 had taken."""

    FIRST, AFTER_KILL = "first time", "after a kill"


@dataclass(frozen=True)
class Cell:
    """One case."""

    answer: Answer
    rights: Rights
    bucket: Bucket
    what: What
    moment: Moment

    def __str__(self) -> str:
        return f"{self.answer.name} | {self.rights} | {self.bucket} | {self.what} | {self.moment}"

    @property
    def is_large(self) -> bool:
        return self.what in {What.BEGIN, What.PART, What.END}

    @property
    def is_conditional(self) -> bool:
        """Created only where nothing is: in one request, and never under a new number."""
        return self.what in {What.SNAPSHOT, What.SEGMENT}


@dataclass(frozen=True)
class Expected:
    """What must follow."""

    is_uploaded: bool
    """Whether the first try counts."""
    error_class: ErrorClass | None = None
    counted: tuple[int, int] = (0, 0)
    """Tries that count against the object: of the first, and of a second one after others passed."""
    puts: int = 1
    """Bodies, or uploads in parts, that a try sends at most."""
    versions: int = 1
    """How often S3 stores it at most until all is well."""
    ends_uploaded: bool = True
    """Whether it is, once the server is well."""
    pause: tuple[float, float] = (0.0, 60.0)
    """Seconds for which S3 is left alone after the first try: at least and at most."""
    exception: str = ""
    """Why something is not as the promises say."""


REPLACED = "an ETag that is the MD5 of something else says that S3 spoiled it, and with this key nothing says otherwise: it is replaced"
OF_ANOTHER = "what another put in our object's place since is replaced by what goes without a condition"
UNSEEN = "what goes without a condition is sent again while looks into the bucket fail"
MAY_WRITE_ALONE = (
    "a key that may only write cannot look; this entry alone has this key, and a 412 of S3's says that it is taken"
)
SENT_AGAIN = "large ones go without a condition, as all do where there is none, and a key that may only write cannot look: a lost answer costs a second upload"


def cells() -> Iterator[Cell]:
    """All of them."""
    return (Cell(*axes) for axes in product(ANSWERS, Rights, Bucket, What, Moment))


def expected(cell: Cell) -> Expected:
    """What must follow in this case."""
    answer, is_blind = cell.answer, cell.rights is Rights.PUT
    was_there = cell.moment is Moment.AFTER_KILL and cell.what is not What.LIVE and answer.holds in {None, b""}
    if was_there and not is_blind and answer.look is None:
        return Expected(True, puts=0)  # it looks first, and finds it
    puts = 1 + _asks_for_checksum(cell) + _is_tried_unconditionally(cell)
    is_told_by_checksum = answer.is_own and _asks_for_checksum(cell) and not (was_there and cell.is_conditional)
    if answer.look is not None and (answer.is_own or cell.is_conditional) and not is_told_by_checksum:
        versions, exception = _stored_again(cell)
        return Expected(False, T, puts=puts, versions=versions, exception=exception)
    if answer.is_own:
        repeated = was_there and (not cell.is_conditional or answer.refuses_condition)
        return Expected(True, puts=puts, versions=1 + repeated, exception=SENT_AGAIN if repeated else "")
    if answer.status == 412 and answer.by_s3 and cell.is_conditional:
        if answer.holds == b"" or is_blind:
            return Expected(True, puts=puts, exception=MAY_WRITE_ALONE if answer.holds or was_there else "")
        return Expected(False, O, (1, 1), puts, ends_uploaded=False)
    versions, exception = _stored_again(cell)
    error_class = class_of(answer)
    return Expected(
        False, error_class, _counted(answer, error_class), puts, versions, pause=_pause(answer, error_class), exception=exception
    )  # fmt: skip


def class_of(answer: Answer) -> ErrorClass:
    """What the answer says of the next try. Another program goes away by itself, as a captive portal does."""
    if answer.status is None or not answer.by_s3:
        return T
    return _BY_CODE.get(answer.code) or _BY_STATUS.get(answer.status, T)


_BY_CODE = {
    **dict.fromkeys(
        ("EntityTooLarge", "KeyTooLongError", "InvalidArgument", "InvalidRequest", "InvalidRange", UNKNOWN), O
    ),
    **dict.fromkeys(("InvalidStorageClass", "NotImplemented", "PermanentRedirect", "TemporaryRedirect"), C),
    **dict.fromkeys(("ExpiredToken", "RequestTimeout", "BadDigest", "RequestTimeTooSkewed"), T),
}
"""What S3 says in words. Of the others the status tells; a 400 with a code that nobody knows is this object's."""
_BY_STATUS = {
    **dict.fromkeys((411, 412, 413), O),
    **dict.fromkeys((301, 400, 401, 403, 404, 405, 416), C),
}


def is_bare(answer: Answer) -> bool:
    """Whether something before S3 refuses, for S3 names a code: all uploads, or by a rule this object alone."""
    return answer.by_s3 and answer.status in {400, 416} and not answer.code


def _counted(answer: Answer, error_class: ErrorClass) -> tuple[int, int]:
    """What can be meant of this object alone counts at once, what may be meant of all only once others passed."""
    if is_bare(answer):
        return 0, 1
    if error_class is not O:
        return 0, 0
    return int(answer.status == 412 or answer.code == "KeyTooLongError"), 1


def _pause(answer: Answer, error_class: ErrorClass) -> tuple[float, float]:
    if answer.retry_after is not None:
        return min(answer.retry_after, 300.0), max(8.0, min(answer.retry_after, 300.0))
    if error_class is C and answer.status not in {401, 403} and not is_bare(answer):
        return 15.0, 300.0
    if answer.code in {"SignatureDoesNotMatch", "InvalidAccessKeyId", "NotSignedUp"}:
        return 15.0, 300.0  # meant of the key, and of nothing else
    return 0.0, 0.0  # one failure more or less: the entry waits for itself


def _stored_again(cell: Cell) -> tuple[int, str]:
    """How often S3 stores it at most before all is well, and why more than once."""
    after_kill, is_blind = cell.moment is Moment.AFTER_KILL, cell.rights is Rights.PUT
    if cell.answer.name == SPOILED and is_blind and after_kill and cell.is_conditional:
        return 2, REPLACED
    if cell.is_conditional or cell.what is What.LIVE:
        return 1, ""
    if after_kill and cell.answer.holds == b"another":
        return 2, OF_ANOTHER
    if cell.answer.look is not None:
        return 1 + after_kill + cell.answer.does * (1 + is_blind), UNSEEN
    is_lost = cell.answer.does and cell.what in {What.END, What.UNCONDITIONAL}
    if is_blind and (after_kill or is_lost):
        return 1 + after_kill + 2 * is_lost, SENT_AGAIN
    return 1, ""


def _asks_for_checksum(cell: Cell) -> bool:
    return cell.bucket is Bucket.LOCKED and not cell.is_large and cell.answer.does


def _is_tried_unconditionally(cell: Cell) -> bool:
    """A server that says that it lacks something may mean the condition."""
    lacks = cell.answer.code in {"NotImplemented", "InvalidArgument", "InvalidRequest"} or cell.answer.status == 501
    return cell.is_conditional and lacks
