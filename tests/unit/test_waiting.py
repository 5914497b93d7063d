"""What is told of entries that wait goes by the error's class, and while S3 takes nothing, all that waits does so for that."""

from __future__ import annotations

import pytest

from frigate_s3_mirror.advice import must_act
from frigate_s3_mirror.catalogue import Catalogue
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3_errors import CODES, classify

WRONG_SECRET = "S3 says SignatureDoesNotMatch: the signature is wrong; check S3_SECRET_KEY and S3_REGION."


@pytest.mark.parametrize("code", [*CODES, "InternalError", "ServiceUnavailable"])
def test_the_class_of_an_error_says_whether_a_person_must_act(code: str) -> None:
    """Asked of the sentence that the ledger keeps."""
    status = 403 if code in CODES else 503
    error = classify(RuntimeError(f"status code: {status} <Error><Code>{code}</Code><Message>No.</Message></Error>"))
    assert must_act(str(error)) is (error.error_class is ErrorClass.CONFIGURATION)


def recorded(ledger: Ledger, count: int) -> list[Entry]:
    events = [
        Event(f"{n}.5-abcdef", "yard", "car", None, float(n), n + 1.0, True, (), None, False) for n in range(count)
    ]
    return ledger.record(
        [Entry(0, e, Kind.SNAPSHOT, f"{e.id}.jpg", f"{e.id}.jpg", State.PENDING, e.start_time) for e in events], 0.0
    )


def test_all_that_waits_is_counted_while_s3_takes_nothing(ledger: Ledger) -> None:
    """Sixty wait, one was tried with a wrong secret: sixty wait for that, and a person must act."""
    taken = recorded(ledger, 60)
    ledger.settle([Outcome(taken[0], State.PENDING, 0, 1, 0.0, WRONG_SECRET)])
    catalogue = Catalogue(ledger)
    (group,) = catalogue.problems(WRONG_SECRET)
    assert (group.count, group.reason, group.must_act, len(group.event_ids)) == (60, WRONG_SECRET, True, 5)
    (group,) = catalogue.problems()
    assert (group.count, group.must_act) == (1, True)
    (group,) = catalogue.problems("S3 did not answer in time.")
    assert (group.count, group.must_act) == (60, False)


def test_what_is_given_up_needs_a_person_and_what_waits_behind_an_outage_does_not(ledger: Ledger) -> None:
    """Each group by its own reason."""
    taken = recorded(ledger, 4)
    states = (State.FAILED, State.EXPIRED, State.PENDING, State.UPLOADED)
    ledger.settle([
        Outcome(entry, state, 3, 1, 0.0, f"{state}.", uploaded_at=1.0 if state is State.UPLOADED else None)
        for entry, state in zip(taken, states, strict=True)
    ])  # fmt: skip
    found = {group.state: group.must_act for group in Catalogue(ledger).problems()}
    assert found == {State.FAILED: True, State.EXPIRED: False, State.PENDING: False}


def test_the_ledger_counts_what_is_due_up_to_a_row(ledger: Ledger) -> None:
    """Deferred ones are not due; one that is due far ahead was deferred before the clock was set back."""
    taken = recorded(ledger, 5)
    assert ledger.due_upto(taken[2].row, 100.0, clips=False) == (3, 5, taken[4].row)
    ledger.settle(
        [Outcome(taken[0], State.PENDING, 0, 1, 150.0, "later"), Outcome(taken[4], State.PENDING, 0, 1, 9999.0, "odd")]
    )
    assert ledger.due_upto(taken[2].row, 100.0, clips=False) == (2, 4, taken[4].row)
    assert ledger.due_upto(-1.0, 100.0, clips=True) == (0, 0, 0)
