"""When an object is created, replaced or looked for, against an S3 that creates conditionally."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import pytest

from frigate_s3_mirror.clock import SystemClock
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3 import ObjectStore
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.sending import Body, LostLedger, Sender
from stub_s3 import CUT, StubS3, always, refusal, reply, stub_s3, to_puts

EVENT = Event("1795600800.5-abcdef", "yard", "car", None, 1795600800.5, 1795600810.0, True, (), None, False)
ENTRY = Entry(1, EVENT, Kind.SNAPSHOT, "a.jpg", "yard/a.jpg", State.PENDING, 1795600810.0)
PICTURE = b"a new picture" * 100


@dataclass(frozen=True, slots=True)
class EntryOfBefore(Entry):
    """One that S3 had, and that waits again: its file has changed."""

    was_uploaded: bool = True


AGAIN = EntryOfBefore(1, EVENT, Kind.SNAPSHOT, "a.jpg", "yard/a.jpg", State.PENDING, 1795600810.0)


class Reads:
    """Gives the picture."""

    def read(self, _entry: Entry) -> Body:
        return Body(PICTURE, len(PICTURE), hashlib.sha256(PICTURE).hexdigest())


def sender(stub: StubS3, **more: str) -> Sender:
    settings = stub.settings(**more)
    return Sender(settings, ObjectStore(settings, {}), Reads(), SystemClock())


def send(by: Sender, entry: Entry = ENTRY) -> State:
    return by.send(entry, lambda _: None).state


def test_what_s3_had_from_us_is_replaced_unless_the_user_forbids_it() -> None:
    with stub_s3() as stub:
        stub.objects["yard/a.jpg"] = b"an older picture", {}
        assert send(sender(stub), AGAIN) is State.UPLOADED
        assert stub.objects["yard/a.jpg"][0] == PICTURE
        stub.objects["yard/a.jpg"] = b"an older picture", {}
        for by, entry in ((sender(stub, S3_OVERWRITE="never"), AGAIN), (sender(stub), ENTRY)):
            with pytest.raises(StoreError, match="S3_OVERWRITE=changed replaces it") as told:
                send(by, entry)
            assert told.value.error_class is ErrorClass.OBJECT
        assert stub.objects["yard/a.jpg"][0] == b"an older picture"


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
@pytest.mark.parametrize("overwrite", ["never", "changed"])
def test_a_conflict_of_the_moment_is_no_upload(code: str, overwrite: str) -> None:
    """With a key that may only write, too: nothing is stored, so nothing is told as done, and nothing is counted."""
    for may_read in (True, False):
        with stub_s3(may_read=may_read) as stub:
            stub.answering = always(refusal(409, code))
            by = sender(stub, S3_OVERWRITE=overwrite)
            with pytest.raises(StoreError) as told:
                send(by)
            assert told.value.error_class is ErrorClass.TRANSIENT
            stub.answering = lambda _: None
            assert send(by) is State.UPLOADED
            assert send(by) is State.UPLOADED


def test_what_s3_spoiled_is_replaced_at_the_next_try() -> None:
    """It was stored under the key, so a condition would keep the spoiled one."""
    with stub_s3() as stub:
        zeros = f'"{"0" * 32}"'
        stub.answering = lambda request: (
            reply(200, {"ETag": zeros}, b"spoiled" if request.method == "GET" else b"")
            if request.method in {"PUT", "GET"}
            else None
        )
        by = sender(stub)
        with pytest.raises(StoreError, match="something else"):
            send(by)
        stub.objects["yard/a.jpg"] = b"spoiled", {}
        stub.answering = lambda _: None
        assert send(by) is State.UPLOADED
        assert stub.objects["yard/a.jpg"][0] == PICTURE


def test_after_a_lost_ledger_it_looks_first() -> None:
    """What is there with the same content is not sent again; what came later is not looked for."""
    with stub_s3() as stub:
        send(sender(stub))
        by = sender(stub, S3_OVERWRITE="changed")
        by.ledger_is_new(ENTRY.happened_at + 1)
        stub.requests.clear()
        assert send(by) is State.UPLOADED
        assert stub.methods() == ["HEAD"]
        later = sender(stub, S3_OVERWRITE="changed")
        later.ledger_is_new(ENTRY.happened_at - 1)
        stub.requests.clear()
        send(later)
        assert stub.methods() == ["PUT"]


def test_a_first_copy_is_not_slowed_by_looking() -> None:
    """Nothing is there: of 2,000 objects some are looked for, and a single find brings the looking back."""
    lost = LostLedger(made_at=100.0)
    looks = 0
    for _ in range(2000):
        if lost.wants_look(50.0):
            looks += 1
            lost.looked_in_vain(may_look=True)
    assert 32 <= looks <= 100
    lost.found()
    assert all(lost.wants_look(50.0) for _ in range(10))
    for _ in range(10):
        lost.looked_in_vain(may_look=False)
    assert not lost.wants_look(50.0)


@pytest.mark.parametrize("may_list", [True, False])
@pytest.mark.parametrize("may_read", [True, False])
def test_a_412_of_another_program_is_no_upload(may_read: bool, may_list: bool) -> None:
    """A gateway's page says nothing of what S3 has, least of all to a key that may not look."""
    page = reply(412, {"Content-Type": "text/html"}, b"<html>Precondition failed</html>")
    with stub_s3(may_read=may_read, may_list=may_list) as stub:
        for raw in (page, reply(412)):
            stub.answering = to_puts(raw)
            by = sender(stub)
            with pytest.raises(StoreError) as told:
                send(by)
            assert told.value.error_class is not ErrorClass.OBJECT
            assert not stub.objects


@pytest.mark.parametrize("etag", ["0" * 32, "odd"])
def test_what_was_in_flight_at_a_kill_is_recognized_in_an_encrypted_bucket(etag: str) -> None:
    """There ETags are no MD5; size, checksum and content say that it is ours, and it is not sent again."""
    with stub_s3(etag=lambda _: f'"{etag}"') as stub:
        send(sender(stub))
        by = sender(stub, S3_PROVIDER="b2")
        by.doubt({ENTRY.row})
        stub.requests.clear()
        assert send(by) is State.UPLOADED
        assert "PUT" not in stub.methods()
        stub.objects["yard/a.jpg"] = b"x" * len(PICTURE), stub.objects["yard/a.jpg"][1]
        if etag != "odd":
            send(by)
            assert stub.objects["yard/a.jpg"][0] == PICTURE


def test_an_upload_whose_answer_got_lost_is_looked_for_where_there_are_no_conditions() -> None:
    """Else a bucket with versions would hold it twice; what is not there is sent."""
    with stub_s3(is_versioned=True) as stub:
        stub.answering = lambda request: (stub.own_answer(request), CUT)[1] if request.method == "PUT" else None
        by = sender(stub, S3_PROVIDER="b2")
        with pytest.raises(StoreError):
            send(by)
        stub.answering = lambda _: None
        assert send(by, replace(ENTRY, deferrals=1)) is State.UPLOADED
        assert stub.taken == {"yard/a.jpg": 1}
        stub.objects.clear()
        assert send(by, replace(ENTRY, deferrals=2)) is State.UPLOADED
        assert stub.taken == {"yard/a.jpg": 2}


def test_a_page_in_the_way_of_a_look_says_nothing_of_the_object() -> None:
    """A gateway that answers for itself what is read, and lets through what is written: nothing is counted."""
    with stub_s3() as stub:
        stub.objects["yard/a.jpg"] = PICTURE, {}
        page = reply(200, {"Content-Type": "text/html", "ETag": '"65f3-38"'})
        stub.answering = lambda request: page if request.method in {"GET", "HEAD"} else None
        by = sender(stub)
        with pytest.raises(StoreError, match="not S3") as told:
            send(by)
        assert told.value.error_class is ErrorClass.TRANSIENT
        stub.answering = lambda _: None
        assert send(by) is State.UPLOADED


def test_a_look_without_an_answer_is_told_as_that() -> None:
    """And not as another program: S3 itself took the upload, and its connection broke."""
    with stub_s3(etag=lambda _: '"odd"') as stub:
        stub.answering = lambda request: CUT if request.method == "HEAD" else None
        with pytest.raises(StoreError, match="closed the connection") as told:
            send(sender(stub))
        assert told.value.error_class is ErrorClass.TRANSIENT
