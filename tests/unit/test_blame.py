"""Who is to blame for a refusal: the same answer means one thing while others pass, and another while none does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.upload.blame import PATIENCE_SECONDS, Culprit, Refusals

OBJECT, FORBIDDEN, BUCKET, NOBODY_YET = (
    Culprit.OBJECT,
    Culprit.OBJECT_FORBIDDEN,
    Culprit.BUCKET,
    Culprit.NOBODY_YET,
)


@dataclass(frozen=True)
class Said:
    error_class: ErrorClass
    status: int | None
    code: str = ""
    is_ambiguous: bool = False


BARE_400 = Said(ErrorClass.CONFIGURATION, 400, is_ambiguous=True)
NO_ACCESS = Said(ErrorClass.CONFIGURATION, 403, "AccessDenied")
AMBIGUOUS = [
    BARE_400,
    Said(ErrorClass.OBJECT, 400, "InvalidArgument"),
    Said(ErrorClass.OBJECT, 400, "InvalidRequest"),
    Said(ErrorClass.OBJECT, 413),
    Said(ErrorClass.OBJECT, 411),
]
FORBIDS = [NO_ACCESS, Said(ErrorClass.CONFIGURATION, 403), Said(ErrorClass.CONFIGURATION, 401, "WafSaysNo")]


@pytest.mark.parametrize("said", AMBIGUOUS + FORBIDS)
def test_what_everybody_gets_is_the_buckets(said: Said) -> None:
    """From the second object on; and when S3 takes one, all is forgotten."""
    refusals = Refusals()
    assert refusals.refused("a", said, 1.0, in_flight=0) is NOBODY_YET
    assert refusals.refused("b", said, 2.0, in_flight=0) is BUCKET
    assert refusals.refused("a", said, 30.0, in_flight=0) is BUCKET
    refusals.taken("c", 40.0)
    assert refusals.refused("d", said, 41.0, in_flight=0) is NOBODY_YET


@pytest.mark.parametrize("said", AMBIGUOUS)
def test_what_one_gets_while_others_pass_is_its_own(said: Said) -> None:
    refusals = Refusals()
    assert refusals.refused("bad", said, 1.0, in_flight=7) is NOBODY_YET
    for number in range(19):
        refusals.taken(number, 2.0 + number)
    assert [refusals.refused("bad", said, now, in_flight=0) for now in (30.0, 31.0)] == [OBJECT, OBJECT]


@pytest.mark.parametrize("said", FORBIDS)
def test_one_that_is_forbidden_waits_by_itself_before_it_counts(said: Said) -> None:
    """A rule of a firewall may be mended."""
    refusals = Refusals()
    assert refusals.refused("bad", said, 1.0, in_flight=0) is NOBODY_YET
    refusals.taken("good", 2.0)
    assert refusals.refused("bad", said, 3.0, in_flight=0) is FORBIDDEN
    assert refusals.refused("bad", said, PATIENCE_SECONDS, in_flight=0) is FORBIDDEN
    assert refusals.refused("bad", said, PATIENCE_SECONDS + 1.0, in_flight=0) is OBJECT


def test_what_was_taken_before_is_no_evidence() -> None:
    """The server may have broken in between."""
    refusals = Refusals()
    refusals.taken("good", 1.0)
    assert [refusals.refused("only", BARE_400, 1.5 + n, in_flight=0) for n in range(5)] == [NOBODY_YET] * 5


def test_the_only_object_in_the_world_needs_a_heartbeat() -> None:
    """Not given up on its own word; the heartbeat that S3 takes says that it is the object."""
    refusals = Refusals()
    assert refusals.refused("only", BARE_400, 1.0, in_flight=0) is NOBODY_YET
    refusals.alive(2.0)
    assert refusals.refused("only", BARE_400, 3.0, in_flight=0) is OBJECT


def test_a_heartbeat_is_no_evidence_against_many() -> None:
    """A bucket that demands what only pictures lack takes heartbeats."""
    refusals = Refusals()
    refusals.refused("a", BARE_400, 1.0, in_flight=0)
    refusals.refused("b", BARE_400, 2.0, in_flight=0)
    refusals.alive(3.0)
    assert refusals.refused("a", BARE_400, 4.0, in_flight=0) is BUCKET


def test_a_key_that_is_forbidden_twice_in_a_row_is_the_key() -> None:
    """With a single event there is nobody to compare with, and people must hear of it soon."""
    refusals = Refusals()
    assert refusals.refused("only", NO_ACCESS, 1.0, in_flight=0) is NOBODY_YET
    assert refusals.refused("only", NO_ACCESS, 2.0, in_flight=0) is BUCKET


def test_two_bad_ones_do_not_speak_for_those_under_way() -> None:
    """Eight at a time: the answers of the other six decide."""
    refusals = Refusals()
    assert refusals.refused("bad", BARE_400, 1.0, in_flight=7) is NOBODY_YET
    assert refusals.refused("worse", BARE_400, 1.1, in_flight=6) is NOBODY_YET
    refusals.taken("good", 1.2)
    assert refusals.refused("bad", BARE_400, 2.0, in_flight=6) is OBJECT


@pytest.mark.parametrize("workers", [1, 2, 8, 64])
def test_one_wave_of_refusals_is_enough(workers: int) -> None:
    """However many are under way: when all of them are refused, it is the bucket."""
    refusals = Refusals()
    verdicts = [refusals.refused(n, BARE_400, 1.0, in_flight=workers - 1) for n in range(workers + 1)]
    assert verdicts[:-2].count(BUCKET) == 0
    assert verdicts[-1] is BUCKET


@pytest.mark.parametrize(
    ("said", "culprit"),
    [
        (Said(ErrorClass.OBJECT, 412), OBJECT),  # another object is there
        (Said(ErrorClass.OBJECT, None), OBJECT),  # our own word, after a look
        (Said(ErrorClass.OBJECT, 400, "KeyTooLongError"), OBJECT),
        (Said(ErrorClass.OBJECT, 400, "MetadataTooLarge"), OBJECT),
        (Said(ErrorClass.CONFIGURATION, 403, "SignatureDoesNotMatch"), BUCKET),
        (Said(ErrorClass.CONFIGURATION, 403, "InvalidAccessKeyId"), BUCKET),
        (Said(ErrorClass.CONFIGURATION, 404, "NoSuchBucket"), BUCKET),
        (Said(ErrorClass.CONFIGURATION, 501, "NotImplemented"), BUCKET),
        (Said(ErrorClass.CONFIGURATION, None), BUCKET),  # no credentials, no trust in the certificate
    ],
)
def test_what_can_be_meant_of_one_thing_only(said: Said, culprit: Culprit) -> None:
    assert Refusals().refused("a", said, 1.0, in_flight=5) is culprit


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([BARE_400, NO_ACCESS])), max_size=60))
def test_nothing_counts_as_long_as_s3_takes_nothing(said: list[tuple[int, Said]]) -> None:
    """Whoever is refused, how often, and in which order."""
    refusals = Refusals()
    for now, (who, refusal) in enumerate(said):
        assert refusals.refused(who, refusal, float(now), in_flight=0) in {BUCKET, NOBODY_YET}


def test_its_memory_is_bounded() -> None:
    refusals = Refusals()
    for number in range(11_000):
        refusals.refused(number, BARE_400, 1.0, in_flight=0)
    assert len(refusals._first) == len(refusals._in_a_row) == 10_000


OF_THE_KEY = (
    "AccountProblem", "AllAccessDisabled", "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidAccessKeyId", "InvalidBucketName",
    "InvalidToken", "NoSuchBucket", "NotSignedUp", "PermanentRedirect", "QuotaExceeded", "RequestTimeTooSkewed", "SignatureDoesNotMatch",
)  # fmt: skip


@pytest.mark.parametrize("code", OF_THE_KEY)
@pytest.mark.parametrize("status", [401, 403])
def test_what_can_only_be_the_keys_fault_is_told_at_once(status: int, code: str) -> None:
    """Though others passed since: nothing is held against this object."""
    refusals = Refusals()
    refusals.refused("a", NO_ACCESS, 1.0, in_flight=0)
    refusals.taken("b", 2.0)
    assert refusals.refused("a", Said(ErrorClass.CONFIGURATION, status, code), 3.0, in_flight=0) is BUCKET


@pytest.mark.parametrize("code", ["KeyTooLong", "KeyTooLongError", "MetadataTooLarge"])
def test_what_can_only_be_the_objects_fault_is_counted_at_once(code: str) -> None:
    assert Refusals().refused("a", Said(ErrorClass.OBJECT, 400, code), 1.0, in_flight=0) is OBJECT


def test_what_was_taken_starts_with_a_clean_slate() -> None:
    """An object that was refused, then taken, then refused again is refused for the first time; so is one that was decided on."""
    for is_taken in (True, False):
        refusals = Refusals()
        refusals.refused("a", NO_ACCESS, 1.0, in_flight=0)
        if is_taken:
            refusals.taken("a", 2.0)
        else:
            refusals.taken("b", 2.0)
            refusals.forget("a")
        assert refusals.refused("a", NO_ACCESS, 3.0, in_flight=0) is NOBODY_YET
    refusals = Refusals()
    refusals.refused("gone", BARE_400, 1.0, in_flight=0)
    refusals.forget("gone")
    refusals.refused("a", BARE_400, 2.0, in_flight=0)
    refusals.alive(3.0)
    assert refusals.refused("a", BARE_400, 4.0, in_flight=0) is OBJECT  # alone: the heartbeat is evidence


def test_evidence_of_the_same_moment_is_none() -> None:
    """What was taken must have been taken later."""
    refusals = Refusals()
    refusals.refused("a", BARE_400, 1.0, in_flight=9)
    refusals.taken("b", 1.0)
    refusals.alive(1.0)
    assert refusals.refused("a", BARE_400, 2.0, in_flight=9) is NOBODY_YET
    refusals.alive(2.5)
    assert refusals.refused("a", BARE_400, 3.0, in_flight=9) is OBJECT


def test_as_many_refused_as_are_under_way_are_everybody() -> None:
    """With the same number of others still without an answer; one alone is everybody only when nothing is under way."""
    refusals = Refusals()
    assert [refusals.refused(who, BARE_400, 1.0, in_flight=2) for who in "abc"] == [NOBODY_YET, NOBODY_YET, BUCKET]
    alone = Refusals()
    assert [alone.refused("a", NO_ACCESS, 1.0, in_flight=1) for _ in range(3)] == [NOBODY_YET] * 3
    assert alone.refused("a", NO_ACCESS, 1.0, in_flight=0) is BUCKET


def test_patience_ends_after_five_minutes() -> None:
    refusals = Refusals()
    refusals.refused("a", NO_ACCESS, 0.0, in_flight=0)
    refusals.taken("b", 1.0)
    assert refusals.refused("a", NO_ACCESS, 299.9, in_flight=0) is FORBIDDEN
    assert refusals.refused("a", NO_ACCESS, 300.0, in_flight=0) is OBJECT
