"""Which answers are proofs, and what is done about the others: the decisions by themselves, without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import pytest

from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3_errors import Failure, StoreError, refusal, without_answer
from frigate_s3_mirror.storage.proof import DAMAGED, Evidence, Proof, Sent, shape, weigh
from frigate_s3_mirror.storage.store import Stored, Upload
from frigate_s3_mirror.storage.transport import Answer

BODY = b"a picture"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
OTHER = "0" * 32
UPLOAD = Upload("a.jpg", BODY, len(BODY), "image/jpeg", {"sha256": "5" * 64})
SENT = Sent(MD5, "checksum")


def answer(etag: str | None = None, status: int = 200, **headers: str) -> Answer:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, more if etag is None else {"etag": etag, **more})


@pytest.mark.parametrize(
    ("said", "evidence"),
    [
        (answer(f'"{MD5}"'), Evidence.PROOF), (answer(f' "{MD5.upper()}" '), Evidence.PROOF), (answer(MD5), Evidence.PROOF),
        (answer(f'"{MD5}"', status=201), Evidence.NONE), (answer(f'"{MD5}"', status=204), Evidence.NONE),
        (answer(f'"{OTHER}"', x_amz_checksum_sha256="checksum"), Evidence.PROOF), (answer(x_amz_checksum_sha256="other"), Evidence.NONE),
        (answer(f'"{OTHER}"'), Evidence.ANOTHER), (answer(f'"{OTHER}"', x_amz_server_side_encryption="AES256"), Evidence.ANOTHER),
        (answer(f'"{OTHER}"', x_amz_server_side_encryption="aws:kms"), Evidence.NONE), (answer('"odd"'), Evidence.NONE), (answer(), Evidence.NONE),
        (answer(f'W/"{MD5}"'), Evidence.NONE), (answer(f'"{MD5}-1"'), Evidence.NONE),
    ],
)  # fmt: skip
def test_what_an_answer_proves(said: Answer, evidence: Evidence) -> None:
    """Only a 200 with the MD5, or with the checksum that the server was to check."""
    assert weigh(said, SENT) is evidence


def test_no_checksum_that_was_not_sent_is_a_proof() -> None:
    assert weigh(answer(x_amz_checksum_sha256=""), Sent(MD5)) is Evidence.NONE
    assert weigh(answer(""), Sent("", "")) is Evidence.PROOF  # of nothing: callers never send no ETag


def test_answers_of_one_server_have_one_shape() -> None:
    """Whatever the ETag's digits; another server, type, form of ETag or header makes another."""
    base = answer('"12ab-3"', server="S", content_type="t", date="d")
    assert shape(base) == shape(answer('"ffffff-99"', server="S", content_type="t", date="e"))
    assert shape(base) == ('"0-0"', "t", "S", "content-type", "date", "etag", "server")
    for other in (
        answer('"12ab"', server="S", content_type="t", date="d"), answer('"12ab-3"', server="T", content_type="t", date="d"),
        answer('"12ab-3"', server="S", content_type="u", date="d"), answer('"12ab-3"', server="S", content_type="t"),
    ):  # fmt: skip
        assert shape(other) != shape(base)
    long = shape(Answer(200, {"etag": "x" * 999, "server": "y" * 999, "content-type": "z" * 999, **{f"h{n:03}": "" for n in range(99)}}))  # fmt: skip
    assert [len(part) for part in long[:3]] == [40, 80, 80]
    assert len(long) == 63


class Bucket:
    """What a look finds, and how often was looked."""

    def __init__(self) -> None:
        self.there: Stored | StoreError = refusal(404)
        self.content: bytes | StoreError = refusal(404)
        self.is_s3 = True
        self.looks: list[str] = []
        self.proof = Proof(self._describe, self._get, self._shows)

    def _describe(self, key: str) -> Stored:
        self.looks.append(f"describe {key}")
        if isinstance(self.there, StoreError):
            raise self.there
        return self.there

    def _get(self, key: str, longest: int) -> bytes:
        self.looks.append(f"get {key} {longest}")
        if isinstance(self.content, StoreError):
            raise self.content
        return self.content

    def _shows(self) -> bool:
        self.looks.append("show")
        return self.is_s3

    def settle(self, said: Answer, upload: Upload = UPLOAD) -> list[str]:
        """The looks that it took; raises what `settle` raises."""
        self.looks.clear()
        self.proof.settle(upload, said, SENT)
        return list(self.looks)

    def refuses(self, said: Answer, upload: Upload = UPLOAD) -> StoreError:
        with pytest.raises(StoreError) as told:
            self.settle(said, upload)
        return told.value


def stored(**more: object) -> Stored:
    return replace(Stored(len(BODY), "e", 1.0, {"sha256": "5" * 64}), **more)  # type: ignore[arg-type]


def test_a_proof_asks_for_nothing_more() -> None:
    assert Bucket().settle(answer(f'"{MD5}"')) == []


def test_what_is_no_proof_is_looked_up_once() -> None:
    """Our size and our checksum are enough."""
    bucket = Bucket()
    bucket.there = stored()
    assert bucket.settle(answer('"odd"')) == ["describe a.jpg"]
    assert bucket.settle(answer('"odd"', status=201)) == ["describe a.jpg"]


@pytest.mark.parametrize("there", [stored(size_bytes=1), stored(metadata={}), stored(metadata={"sha256": "6" * 64})])
def test_what_bears_no_checksum_of_ours_is_read(there: Stored) -> None:
    """Some servers keep no metadata; what differs is no upload."""
    bucket = Bucket()
    bucket.there, bucket.content = there, BODY
    assert bucket.settle(answer('"odd"')) == ["describe a.jpg", f"get a.jpg {len(BODY)}"]
    bucket.content = b"another"
    assert not bucket.refuses(answer('"odd"')).is_from_s3
    large = replace(UPLOAD, body=BytesIO(BODY))
    bucket.content = BODY
    assert not bucket.refuses(answer('"odd"'), large).is_from_s3
    assert bucket.looks == ["describe a.jpg"]  # what is large is not read


def test_no_checksum_is_not_the_same_as_none() -> None:
    """An upload without our metadata is never proved by an object without it."""
    bucket = Bucket()
    bucket.there, bucket.content = stored(metadata={}), b"another"
    assert not bucket.refuses(answer('"odd"'), replace(UPLOAD, metadata={})).is_from_s3


@pytest.mark.parametrize(("error", "is_passed_on"), [(refusal(404), False), (refusal(500), True), (refusal(429), True), (without_answer(Failure.TIMED_OUT), True), (refusal(302), False)])  # fmt: skip
def test_a_look_that_fails_proves_nothing(error: StoreError, is_passed_on: bool) -> None:
    """Not there, or no answer of S3's: no upload; trouble of the server is trouble."""
    bucket = Bucket()
    bucket.there = error
    told = bucket.refuses(answer('"odd"'))
    assert (told is error) is is_passed_on
    assert told.error_class is ErrorClass.TRANSIENT


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not_look_needs_a_server_that_shows_what_it_is(status: int) -> None:
    """Once for answers of one shape; a 201 is none whoever says it."""
    bucket = Bucket()
    bucket.there = refusal(status)
    bucket.is_s3 = False
    assert not bucket.refuses(answer('"odd"')).is_from_s3
    bucket.is_s3 = True
    assert bucket.settle(answer('"odd"')) == ["describe a.jpg", "show"]
    bucket.is_s3 = False
    assert bucket.settle(answer('"odd"')) == ["describe a.jpg"]
    assert not bucket.refuses(answer('"odd"', server="another")).is_from_s3
    bucket.is_s3 = True
    assert not bucket.refuses(answer('"odd"', status=201)).is_from_s3
    assert "show" not in bucket.looks


def test_no_server_teaches_more_than_64_shapes() -> None:
    bucket = Bucket()
    bucket.there = refusal(403)
    for number in range(65):
        bucket.settle(answer('"odd"', server=f"S{number}"))
    assert bucket.settle(answer('"odd"', server="S63")) == ["describe a.jpg"]
    assert bucket.settle(answer('"odd"', server="S64")) == ["describe a.jpg", "show"]


def test_an_md5_of_something_else_is_settled_by_reading() -> None:
    """An encrypted bucket's ETag only looks like one; from then on the rest is looked up."""
    bucket = Bucket()
    bucket.content, bucket.there = BODY, stored()
    assert bucket.settle(answer(f'"{OTHER}"')) == [f"get a.jpg {len(BODY)}"]
    assert bucket.settle(answer(f'"{OTHER}"')) == ["describe a.jpg"]


@pytest.mark.parametrize("content", [b"another", without_answer(Failure.TOO_LONG)])
def test_what_was_damaged_is_told_as_such(content: bytes | StoreError) -> None:
    """Shorter, other, or longer than it may be."""
    bucket = Bucket()
    bucket.settle(answer(f'"{MD5}"'))
    bucket.content = content
    told = bucket.refuses(answer(f'"{OTHER}"'))
    assert (told.code, told.error_class) == (DAMAGED, ErrorClass.TRANSIENT)
    assert DAMAGED == "Damaged"
    assert "sending it again" in str(told)


def test_an_etag_that_was_right_before_and_is_not_now_is_damage_to_a_key_that_may_not_look() -> None:
    """Said once for the object; after that the server's word for what it is decides."""
    bucket = Bucket()
    bucket.content = refusal(403, "<Code>AccessDenied</Code>")
    bucket.settle(answer(f'"{MD5}"'))
    assert bucket.refuses(answer(f'"{OTHER}"')).code == DAMAGED
    assert bucket.settle(answer(f'"{OTHER}"')) == [f"get a.jpg {len(BODY)}", "show"]
    assert bucket.refuses(answer(f'"{OTHER}"')).code == DAMAGED  # it was settled in between
    assert bucket.refuses(answer(f'"{OTHER}"'), replace(UPLOAD, key="b.jpg")).code == DAMAGED


def test_a_key_that_may_not_look_believes_an_odd_md5_of_a_proved_server() -> None:
    bucket = Bucket()
    bucket.content = bucket.there = refusal(403)
    bucket.is_s3 = False
    assert not bucket.refuses(answer(f'"{OTHER}"')).is_from_s3
    bucket.is_s3 = True
    assert bucket.settle(answer(f'"{OTHER}"')) == [f"get a.jpg {len(BODY)}", "show"]
    assert bucket.settle(answer(f'"{OTHER}"')) == ["describe a.jpg"]  # ETags are no MD5 here


def test_trouble_while_reading_is_trouble() -> None:
    bucket = Bucket()
    bucket.content = refusal(500)
    assert bucket.refuses(answer(f'"{OTHER}"')) is bucket.content


def test_large_uploads_say_nothing_about_etags() -> None:
    """Theirs are of parts; one that looks like an MD5 is looked up, and what small ones taught stays."""
    bucket = Bucket()
    bucket.there, bucket.content = stored(), BODY
    large = replace(UPLOAD, body=BytesIO(BODY))
    assert bucket.settle(answer(f'"{MD5}"'), large) == []
    assert bucket.settle(answer(f'"{OTHER}"'), large) == ["describe a.jpg"]
    assert bucket.settle(answer(f'"{OTHER}"')) == [f"get a.jpg {len(BODY)}"]


@pytest.mark.parametrize(
    ("body", "is_s3", "asks"),
    [
        (b"<Error><Code>PreconditionFailed</Code></Error>", False, []),
        (b"", True, ["show"]),
        (b"", False, ["show"]),
        (b"<Code>Other</Code>", True, ["show"]),
    ],
)
def test_a_conflict_is_s3s_own_or_shown_to_be(body: bytes, is_s3: bool, asks: list[str]) -> None:
    bucket = Bucket()
    bucket.is_s3 = is_s3
    act: Callable[[], None] = lambda: bucket.proof.settle_conflict(Answer(412, {}, body))  # noqa: E731
    if asks and not is_s3:
        with pytest.raises(StoreError):
            act()
    else:
        act()
    assert bucket.looks == asks
