"""What S3 answers to an upload, over a real socket: believed is what is proved, and each refusal is told as what it is."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.environment import load
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3 import ObjectStore, Upload, parse_retry_after, parts_etag
from frigate_s3_mirror.s3_errors import StoreError
from frigate_s3_mirror.storage.http_dates import parse_date
from stub_s3 import (
    ACCESS_KEY,
    BUCKET,
    SECRET_KEY,
    Request,
    StubS3,
    always,
    listening_raw,
    refusal,
    reply,
    stub_s3,
    to_puts,
)

BODY = b"a picture" * 5000
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(BODY).hexdigest()
UPLOAD = Upload("a/b.jpg", BODY, len(BODY), "image/jpeg", {"sha256": SHA256, "camera": "yard"})
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}
NOT_S3: dict[str, bytes] = {
    "200 html, weak etag": reply(200, {**HTML, "ETag": 'W/"abc"'}, PAGE),
    "200 html, weak md5": reply(200, {**HTML, "ETag": f'W/"{MD5}"'}, PAGE),
    "200 html, nginx etag": reply(200, {**HTML, "ETag": '"65f3-38"'}, PAGE),
    "200 html, empty etag": reply(200, {**HTML, "ETag": '""'}, PAGE),
    "200 html, no etag": reply(200, HTML, PAGE),
    "200 html, md5 of the page": reply(200, {**HTML, "ETag": f'"{hashlib.md5(PAGE).hexdigest()}"'}, PAGE),  # noqa: S324
    "200 parts etag": reply(200, {"ETag": f'"{MD5}-1"'}),
    "200 nothing": reply(200),
    "200 json": reply(200, {"Content-Type": "application/json", "ETag": '"1"'}, b'{"ok": true}'),
    "200 S3 headers of a gateway": reply(200, {"ETag": '"x"', "x-amz-request-id": "1", "Server": "gateway"}),
    "201": reply(201, {"ETag": '"abc"'}),
    "202": reply(202, {"ETag": '"abc"'}),
    "204": b'HTTP/1.1 204 Told\r\nETag: "abc"\r\n\r\n',
    "206": reply(206, {"ETag": '"abc"'}, b"part"),
    "201 with the md5": reply(201, {"ETag": f'"{MD5}"'}),
    "204 with the md5": f'HTTP/1.1 204 Told\r\nETag: "{MD5}"\r\n\r\n'.encode(),
    "302": reply(302, {"Location": "http://login.example/in?token=abc", "ETag": f'"{MD5}"'}),
    "303": reply(303, {"Location": "http://login.example/in?token=abc", "ETag": f'"{MD5}"'}),
    "307": reply(307, {"Location": "https://login.example/in"}),
    "308": reply(308, {"Location": "https://login.example/in"}),
    "300": reply(300, HTML, PAGE),
    "304": b'HTTP/1.1 304 Told\r\nETag: "abc"\r\n\r\n',
}


@pytest.mark.parametrize("may_read", [True, False], ids=["may read", "may only write"])
@pytest.mark.parametrize("name", NOT_S3)
def test_what_is_not_s3_is_no_upload(name: str, may_read: bool) -> None:
    """Whether all requests are answered so, or only the PUT (a gateway that swallows bodies before a real S3)."""
    for swallows_all in (True, False):
        with stub_s3(may_read=may_read) as stub:
            stub.answering = always(NOT_S3[name]) if swallows_all else to_puts(NOT_S3[name])
            store = ObjectStore(stub.settings(), {})
            for create in (False, True):
                with pytest.raises(StoreError) as told:
                    store.put(UPLOAD, create=create)
                assert told.value.error_class is not ErrorClass.OBJECT
                assert told.value.status != 412
            assert not stub.objects


def test_a_login_page_is_named() -> None:
    """With its status, its type and where it sends, without what may be secret in the address."""
    with stub_s3() as stub:
        stub.answering = lambda _: reply(302, {**HTML, "Location": "http://login.example:8080/in?token=abc"}, PAGE)
        with pytest.raises(StoreError, match=r"status 302, text/html, sends to http://login\.example:8080/in") as told:
            ObjectStore(stub.settings(), {}).put(UPLOAD)
    assert "another program or a login page" in str(told.value)
    assert not told.value.is_from_s3
    assert "abc" not in str(told.value)


def test_no_redirect_is_followed() -> None:
    """Not even to a server that would say yes to a GET."""
    with stub_s3() as other, stub_s3() as stub:
        other.answering = lambda _: reply(200, {"ETag": f'"{MD5}"'})
        for status in (301, 302, 303, 307, 308):
            stub.answering = always(reply(status, {"Location": f"{other.url}/in"}))
            with pytest.raises(StoreError):
                ObjectStore(stub.settings(), {}).put(UPLOAD)
        assert not other.requests


@pytest.mark.parametrize(
    "etag",
    [
        lambda body: f'"{hashlib.sha256(body).hexdigest()[:32]}"',  # KMS: looks like an MD5 and is none
        lambda body: f'"{hashlib.sha256(body).hexdigest()}"',
        lambda _: 'W/"1-2"',
        lambda _: '"65f3-38"',
        lambda _: '""',
        lambda _: "",
        lambda body: f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}-1"',
    ],
    ids=["kms", "sha256", "weak", "nginx", "empty", "none", "parts"],
)
def test_a_real_s3_with_odd_etags_is_believed_when_it_shows_the_object(etag: Callable[[bytes], str]) -> None:
    """It is looked up, or S3 shows what it is to a key that may only write: once, and not for each object."""
    for may_read in (True, False):
        with stub_s3(may_read=may_read, etag=etag) as stub:
            store = ObjectStore(stub.settings(), {})
            for number in range(5):
                store.put(replace(UPLOAD, key=f"{number}.jpg"), create=True)
            assert len([key for key in stub.objects if key.endswith(".jpg")]) == 5
            checks = [request for request in stub.requests if "signature-check" in request.target]
            assert len(checks) == (0 if may_read else 1)
            assert stub.methods().count("GET") <= 1  # the first that looks like the MD5 of something else is read
            assert not any("signature-check" in key for key in stub.objects)


@pytest.mark.parametrize("name", [name for name in NOT_S3 if name.startswith(("200 html", "200 json", "200 nothing"))])
def test_one_answer_of_something_else_among_those_of_s3_is_no_upload(name: str) -> None:
    """What stands before S3 answers one PUT itself; S3 gets all other requests, and shows what it is when asked."""
    with stub_s3(may_read=False, etag=lambda _: '"odd"') as stub:
        store = ObjectStore(stub.settings(), {})
        puts = count()

        def one_page(request: Request) -> bytes | None:
            is_put = request.method == "PUT" and "signature-check" not in request.target
            return NOT_S3[name] if is_put and next(puts) == 2 else None

        stub.answering = one_page
        taken = []
        for number in range(5):
            with contextlib.suppress(StoreError):
                store.put(replace(UPLOAD, key=f"{number}.jpg"), create=True)
                taken.append(f"{number}.jpg")
        assert taken == ["0.jpg", "1.jpg", "3.jpg", "4.jpg"]


def test_the_server_shows_again_what_it_is_when_its_answers_change() -> None:
    """A key that may only write, an S3 with odd ETags, and then something else at its address."""
    with stub_s3(may_read=False, etag=lambda _: '"odd"') as stub:
        store = ObjectStore(stub.settings(), {})
        store.put(UPLOAD)
        for answer in (NOT_S3["200 html, nginx etag"], NOT_S3["200 nothing"], NOT_S3["200 S3 headers of a gateway"]):
            for told in (always(answer), to_puts(answer)):
                stub.answering = told
                with pytest.raises(StoreError, match="no answer of S3's"):
                    store.put(UPLOAD)
        stub.answering = lambda _: None
        store.put(UPLOAD)


def test_a_checksum_that_the_server_made_is_a_proof() -> None:
    """As AWS answers with KMS: the ETag is no MD5, the checksum is right, and nothing more is asked."""
    import base64

    checksum = base64.b64encode(bytes.fromhex(SHA256)).decode()
    with stub_s3(
        may_read=False, etag=lambda _: f'"{"0" * 32}"', more_headers={"x-amz-checksum-sha256": checksum}
    ) as stub:
        store = ObjectStore(stub.settings(S3_PROVIDER="aws", S3_ADDRESSING_STYLE="path"), {})
        store.put(UPLOAD)
        assert stub.methods() == ["PUT"]
        assert stub.requests[0].headers["x-amz-checksum-sha256"] == checksum


def test_what_was_damaged_on_the_way_is_sent_again() -> None:
    """The ETag is an MD5 of something else, and so is what can be read."""
    with stub_s3() as stub:
        store = ObjectStore(stub.settings(), {})
        store.put(UPLOAD)
        stub.etag = lambda _: f'"{"0" * 32}"'
        stub.answering = lambda request: (
            reply(200, {"ETag": f'"{"0" * 32}"'}, b"spoiled") if request.method == "GET" else None
        )
        with pytest.raises(StoreError, match="stored something else") as told:
            store.put(UPLOAD)
        assert told.value.error_class is ErrorClass.TRANSIENT


def test_an_error_in_a_200_is_an_error() -> None:
    with stub_s3() as stub:
        store = ObjectStore(stub.settings(), {})
        for code, error_class in {
            "InternalError": ErrorClass.TRANSIENT,
            "AccessDenied": ErrorClass.CONFIGURATION,
        }.items():
            body = f"<Error><Code>{code}</Code><Message>told</Message></Error>".encode()
            stub.answering = always(reply(200, {"ETag": '"abc"'}, body))
            with pytest.raises(StoreError, match=f"S3 says {code}") as told:
                store.put(UPLOAD)
            assert told.value.error_class is error_class


def test_a_201_is_none_even_from_an_s3_that_may_not_be_looked_into() -> None:
    """What a proved server does not say with 200 is not said."""
    with stub_s3(may_read=False) as stub:
        stub.answering = lambda request: (
            reply(201, {"ETag": '"odd"'})
            if request.method == "PUT" and "signature-check" not in request.target
            else None
        )
        with pytest.raises(StoreError, match="no answer of S3's"):
            ObjectStore(stub.settings(), {}).put(UPLOAD)


def test_a_refusal_that_is_not_s3s_own_shows_nothing() -> None:
    """A gateway that refuses the spoiled request by a page of its own, or a bare status, has not checked a signature."""
    with stub_s3(may_read=False) as stub:
        for refused in (reply(403, HTML, PAGE), reply(403), reply(401), refusal(500, "InternalError"), reply(200)):
            stub.answering = lambda request, refused=refused: (  # type: ignore[misc]
                (refused if "signature-check" in request.target else reply(200, {"ETag": '"odd"'}))
                if request.method == "PUT"
                else None
            )
            with pytest.raises(StoreError, match="no answer of S3's"):
                ObjectStore(stub.settings(), {}).put(UPLOAD)


def test_a_role_is_believed_as_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys obstore sends, which hides all of an answer but the ETag: that must be right, or the object be there."""
    for name, value in {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}.items():
        monkeypatch.setenv(name, value)
    with stub_s3() as stub:
        environ = {
            "S3_ENDPOINT_URL": stub.url, "S3_BUCKET": BUCKET, "S3_PROVIDER": "aws", "S3_ADDRESSING_STYLE": "path",
        }  # fmt: skip
        store = ObjectStore(load(environ).settings, {})
        store.put(UPLOAD)
        assert stub.methods() == ["PUT"]
        stub.etag = lambda _: '"odd"'
        store.put(UPLOAD)
        assert stub.methods() == ["PUT", "PUT", "HEAD"]
        assert (store.get(UPLOAD.key), store.describe(UPLOAD.key).size_bytes) == (BODY, len(BODY))
        with pytest.raises(StoreError, match="longer"):
            store.get(UPLOAD.key, longest=10)
        for name, answer in NOT_S3.items():
            stub.objects.clear()
            if "with the md5" not in name:  # of which obstore does not tell the status
                stub.answering = to_puts(answer)
                with pytest.raises(StoreError):
                    store.put(UPLOAD)


# -- in parts ----------------------------------------------------------------------------------------------------------

DONE = "<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>"
PARTS_ETAG = parts_etag([hashlib.md5(BODY, usedforsecurity=False).digest()])
IN_PARTS: dict[str, tuple[bytes, bytes | None, bytes, bool]] = {
    # name: (answer to the part, to the end, to a look, is it an upload)
    "as it should be": (b"", DONE.format(PARTS_ETAG).encode(), b"404", True),
    "quoted": (b"", DONE.format(f"&quot;{PARTS_ETAG}&quot;").encode(), b"404", True),
    "another etag, and there": (b"", DONE.format("odd-1").encode(), b"there", True),
    "another etag, and not there": (b"", DONE.format("odd-1").encode(), b"404", False),
    "another etag, and another object": (b"", DONE.format("odd-1").encode(), b"another", False),
    "an error in the 200": (b"", b"<Error><Code>InternalError</Code></Error>", b"there", False),
    "a page at the end": (b"", PAGE, b"404", False),
    "nothing at the end": (b"", b"", b"404", False),
    "a part is not taken": (refusal(500, "InternalError"), None, b"there", False),
    "a part is answered by a page": (reply(200, HTML, PAGE), None, b"there", False),
    "a part is answered 204": (reply(204), None, b"there", False),
}


@pytest.mark.parametrize("name", IN_PARTS)
def test_a_large_upload_is_proved_as_a_small_one(name: str) -> None:
    """Its parts, its end and a look; what is none is aborted."""
    part, end, look, is_upload = IN_PARTS[name]
    there = {"x-amz-meta-sha256": SHA256 if look == b"there" else "another", "ETag": '"odd-1"'}

    def answer(request: Request) -> bytes | None:
        if request.target.endswith("?uploads="):
            return reply(
                200, {}, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
            )
        if request.method == "POST":
            return reply(200, {}, end or b"")
        if request.method == "PUT":
            return part or reply(200, {"ETag": f'"{MD5}"'})
        if request.method == "HEAD":
            whole = reply(404) if look == b"404" else reply(200, there, BODY)
            return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return None

    with stub_s3() as stub:
        stub.answering = answer
        store = ObjectStore(stub.settings(), {})
        upload = replace(UPLOAD, body=BytesIO(BODY))
        if is_upload:
            assert store.put(upload)
        else:
            with pytest.raises(StoreError) as told:
                store.put(upload)
            assert told.value.error_class is ErrorClass.TRANSIENT
        assert ("DELETE" in stub.methods()) == (not is_upload)


def test_an_upload_id_of_nobody_begins_nothing() -> None:
    with stub_s3() as stub:
        for body in (PAGE, b"", b"<InitiateMultipartUploadResult/>"):
            stub.answering = always(reply(200, HTML, body))
            with pytest.raises(StoreError, match="no answer of S3's"):
                ObjectStore(stub.settings(), {}).put(replace(UPLOAD, body=BytesIO(BODY)))


# -- refusals ----------------------------------------------------------------------------------------------------------

T, C, OBJ = ErrorClass.TRANSIENT, ErrorClass.CONFIGURATION, ErrorClass.OBJECT
REFUSALS: list[tuple[int, str, ErrorClass, bool]] = [
    (409, "ConditionalRequestConflict", T, False),
    (409, "OperationAborted", T, False),
    (409, "", T, False),
    (409, "Unheard", T, False),
    (400, "", C, True),
    (400, "InvalidRequest", OBJ, True),
    (400, "InvalidArgument", OBJ, True),
    (400, "MissingUploadObjectWithObjectLockHeaders", C, False),
    (400, "Unheard", OBJ, True),
    (418, "Unheard", OBJ, True),
    (422, "", C, True),
    (403, "AccessDenied", C, False),
    (403, "", C, False),
    (401, "", C, False),
    (400, "InvalidPart", T, False),
    (400, "InvalidPartOrder", T, False),
    (404, "NoSuchUpload", T, False),
    (404, "NoSuchBucket", C, False),
    (405, "MethodNotAllowed", C, False),
    (408, "", T, False),
    (411, "", OBJ, False),
    (413, "", OBJ, False),
    (416, "", C, True),
    (425, "", T, False),
    (429, "TooManyRequests", T, False),
    (301, "PermanentRedirect", C, False),
    (301, "", C, False),
    (307, "TemporaryRedirect", C, False),
    (400, "ExpiredToken", T, False),
    (400, "RequestTimeout", T, False),
    (500, "", T, False),
    (501, "NotImplemented", C, False),
    (503, "SlowDown", T, False),
    (507, "Unheard", T, False),
]


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(("status", "code", "error_class", "is_ambiguous"), REFUSALS)
def test_status_and_code_say_what_a_refusal_means(
    status: int, code: str, error_class: ErrorClass, is_ambiguous: bool, create: bool
) -> None:
    """With or without a condition; none of them is an upload, or "there already"."""
    with stub_s3() as stub:
        stub.answering = lambda _: refusal(status, code) if code else reply(status)
        with pytest.raises(StoreError) as told:
            ObjectStore(stub.settings(), {}).put(UPLOAD, create=create)
    assert (told.value.error_class, told.value.is_ambiguous) == (error_class, is_ambiguous), str(told.value)
    assert (told.value.status, told.value.code) == (status, code)
    assert told.value.is_from_s3 or not code


@given(st.integers(400, 499), st.text(st.characters(codec="ascii", categories=["L"]), min_size=5, max_size=30))
def test_waiting_is_for_what_time_heals(status: int, code: str) -> None:
    """A 4xx with a code that nobody knows is not tried for ever, but for those that say so."""
    from frigate_s3_mirror import s3_errors

    error = s3_errors.refusal(status, f"<Error><Code>{code}</Code></Error>")
    if code not in s3_errors.CODES:
        assert (error.error_class is ErrorClass.TRANSIENT) == (status in {408, 409, 425, 429})


def test_a_412_counts_only_from_s3() -> None:
    """With a key that may only write it means "there already", unless another program says so."""
    with stub_s3(may_read=False) as stub:
        store = ObjectStore(stub.settings(), {})
        store.put(UPLOAD, create=True)
        with pytest.raises(StoreError) as told:
            store.put(UPLOAD, create=True)
        assert told.value.status == 412
        for create, page in ((True, PAGE), (False, PAGE), (True, b""), (False, b"")):
            stub.answering = always(reply(412, HTML if page else {}, page))
            with pytest.raises(StoreError) as told:
                store.put(UPLOAD, create=create)
            assert "not S3" in str(told.value)
            assert told.value.error_class is ErrorClass.TRANSIENT


def test_each_operation_names_its_own_permission() -> None:
    with stub_s3() as stub:
        stub.answering = lambda request: refusal(403, "AccessDenied") if request.method != "HEAD" else reply(403)
        store = ObjectStore(stub.settings(), {})
        asked: dict[str, Callable[[], object]] = {
            "s3:PutObject": lambda: store.put(UPLOAD),
            "s3:GetObject": lambda: store.get("a"),
            "s3:ListBucket": lambda: store.may_list("a"),
            "s3:DeleteObject": lambda: store.delete("a"),
            "s3:PutObjectTagging": lambda: store.put(replace(UPLOAD, tags={"frigate": "live"})),
        }
        for permission, ask in asked.items():
            with pytest.raises(StoreError, match=permission):
                ask()
        with pytest.raises(StoreError, match="s3:ListBucket"):
            list(store.list("a"))
        with pytest.raises(StoreError, match="s3:ListBucket"):
            store.folders("a")


def test_retry_after_comes_with_the_refusal() -> None:
    with stub_s3() as stub:
        for text, seconds in {"3": 3.0, "0": 0.0, "-5": None, "²": None, "9" * 30: None, "soon": None}.items():
            stub.answering = always(refusal(503, "SlowDown", Retry_After=text.encode().decode("latin-1")))
            with pytest.raises(StoreError) as told:
                ObjectStore(stub.settings(), {}).put(UPLOAD)
            assert told.value.retry_after == seconds


def test_nothing_of_a_signature_reaches_a_sentence() -> None:
    """A server that repeats the request in its refusal, in each of the ways in which signatures are written."""
    with stub_s3() as stub:

        def echo(request: Request) -> bytes:
            authorization = request.headers["authorization"]
            signature = authorization.rpartition("=")[2]
            told = [
                authorization, f"Authorization: {authorization}", f"Signature={signature}", f"X-Amz-Signature={signature}&amp;a=b",
                "X-Amz-Credential=stub-access-key%2F2026&amp;a", f"you sent {signature}", f'"signature": "{signature}"',
                f"X-Amz-Security-Token: {signature}", f"SignatureProvided {signature}",
            ]  # fmt: skip
            return refusal(400, "InvalidRequest", told[len(stub.requests) % len(told)])

        stub.answering = echo
        store = ObjectStore(stub.settings(), {})
        for _ in range(9):
            with pytest.raises(StoreError) as told:
                store.put(UPLOAD)
            signature = stub.requests[-1].headers["authorization"].rpartition("=")[2]
            assert signature[:16] not in str(told.value)
            assert "stub-access-key" not in str(told.value)


# -- values from outside -----------------------------------------------------------------------------------------------


@given(
    st.one_of(
        st.text(max_size=40), st.integers().map(str), st.datetimes().map(str), st.from_regex(r"\w{3}, \d+ \w{3} \d+ .*")
    )
)
def test_no_header_breaks_the_reading_of_dates(text: str) -> None:
    """Whatever comes: None, or a number within bounds."""
    seconds = parse_retry_after(text, now=1.8e9)
    assert seconds is None or 0 <= seconds <= 86_400
    parse_date(text)


@pytest.mark.parametrize(
    "text",
    [
        "Wed, 25 Nov 2026 10:00:00 GMT", "Wednesday, 25-Nov-26 10:00:00 GMT", "Wed Nov 25 10:00:00 2026",
        "2026-11-25T10:00:00Z", "2026-11-25T11:00:00.000+01:00", "2026-11-25 10:00:00",
    ],
)  # fmt: skip
def test_an_object_has_its_date_in_any_form(text: str) -> None:
    with stub_s3() as stub:
        stub.answering = lambda _: f"HTTP/1.1 200 OK\r\nLast-Modified: {text}\r\nContent-Length: 5\r\n\r\n".encode()
        assert ObjectStore(stub.settings(), {}).describe("a").modified_at == 1795600800.0


def test_an_object_without_a_date_is_as_old_as_the_look() -> None:
    with stub_s3() as stub:
        for date in ("", "Last-Modified: never\r\n", "Last-Modified: Mon, 99 Xyz 99999 99:99:99 GMT\r\n"):
            stub.answering = always(f"HTTP/1.1 200 OK\r\n{date}Content-Length: 5\r\n\r\n".encode())
            assert abs(ObjectStore(stub.settings(), {}).describe("a").modified_at - time.time()) < 60


# -- bounds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 404, 500, 503])
def test_an_endless_answer_is_cut_off(status: int) -> None:
    """Of two gigabytes only the beginning is read, whatever was asked."""
    sent = [0]

    def flood(client: socket.socket) -> None:
        client.recv(1 << 20)
        client.sendall(f'HTTP/1.1 {status} Told\r\nETag: "1"\r\nContent-Length: {2 << 30}\r\n\r\n'.encode())
        while True:
            sent[0] += client.send(b"x" * 65536)

    with listening_raw(flood) as port:
        settings = StubS3(port).settings()
        store = ObjectStore(settings, {})
        asked: list[Callable[[], object]] = [
            lambda: store.put(replace(UPLOAD, body=b"x", size_bytes=1, metadata={})),
            lambda: store.get("a", longest=65536),
            lambda: store.may_list(""),
        ]
        for ask in asked:
            with pytest.raises(StoreError):
                ask()
    assert sent[0] < 128 << 20  # what fits into the sockets' buffers, and a get of as much as it may


def test_a_heartbeat_of_300_mb_is_not_read() -> None:
    from frigate_s3_mirror.fleet import UNREADABLE, read_fleet

    listing = b"<ListBucketResult><Contents><Key>.mirror/a.json</Key><Size>1</Size><ETag>1</ETag><LastModified>2026-11-25T10:00:00Z</LastModified></Contents></ListBucketResult>"
    with stub_s3() as stub:
        stub.answering = lambda r: reply(
            200, {"ETag": '"1"'}, listing if "list-type" in r.target else b"{" * 30_000_000
        )
        sites = read_fleet(ObjectStore(stub.settings(), {}), "", 0.0, everywhere=True)
    assert [site.state for site in sites] == [UNREADABLE]
    assert "longer" in sites[0].reason


# -- keys in files -----------------------------------------------------------------------------------------------------


def test_keys_that_were_changed_in_their_files_are_read_again(tmp_path: Path) -> None:
    """S3 refuses the old ones; the next try of the same upload has the new ones, and so have all other requests."""
    access, secret = tmp_path / "access", tmp_path / "secret"
    access.write_text("stub-access-key\n")
    secret.write_text(SECRET_KEY)
    with stub_s3() as stub:
        environ = {"S3_ACCESS_KEY_FILE": str(access), "S3_SECRET_KEY_FILE": str(secret)}
        store = ObjectStore(stub.settings(), environ)
        store.put(UPLOAD)
        stub.secret_key = "changed-secret"
        with pytest.raises(StoreError, match="SignatureDoesNotMatch"):
            store.put(UPLOAD)
        secret.write_text("changed-secret\n")
        store.put(UPLOAD)
        assert store.get(UPLOAD.key) == BODY
        stub.secret_key = "changed-again"
        secret.write_text("changed-again\n")
        assert store.get(UPLOAD.key) == BODY
        assert store.download(UPLOAD.key, BytesIO())[1] == SHA256
        secret.unlink()  # a moment in the middle of a change
        stub.secret_key = "third"
        with pytest.raises(StoreError, match="SignatureDoesNotMatch"):
            store.put(UPLOAD)


# -- what servers refuse -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refused",
    [
        refusal(400, "InvalidArgument", "Unsupported header 'x-amz-tagging' received for this API call."),  # Backblaze
        refusal(501, "NotImplemented", "Header 'x-amz-tagging' with value 'frigate=live' not implemented"),  # R2
        refusal(400, "InvalidRequest"),
        reply(501),
    ],
)
def test_tags_that_are_refused_are_left_away_and_told(refused: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Once found out, it is remembered; nothing is counted against the object."""
    with stub_s3() as stub:
        stub.answering = lambda request: refused if "x-amz-tagging" in request.headers else None
        store = ObjectStore(stub.settings(), {})
        for number in range(3):
            store.put(replace(UPLOAD, key=f"{number}.jpg", tags={"frigate": "live"}), create=True)
        assert len(stub.objects) == 3
        assert stub.methods().count("PUT") == 4
        assert ["refuses object tags" in limit for limit in store.limits] == [True]


def test_what_the_user_asked_for_is_never_left_away() -> None:
    """Encryption above all: a server that refuses it gets no picture in the clear."""
    with stub_s3() as stub:
        stub.answering = lambda request: (
            refusal(400, "InvalidArgument", "no encryption")
            if "x-amz-server-side-encryption" in request.headers
            else None
        )
        store = ObjectStore(stub.settings(S3_SSE="AES256"), {})
        with pytest.raises(StoreError, match="S3_SSE=AES256") as told:
            store.put(replace(UPLOAD, tags={"frigate": "live"}, storage_class="STANDARD_IA"))
        assert told.value.error_class is ErrorClass.CONFIGURATION
        assert not stub.objects
        stub.answering = lambda request: (
            refusal(400, "InvalidStorageClass") if "x-amz-storage-class" in request.headers else None
        )
        store = ObjectStore(stub.settings(S3_STORAGE_CLASS="GLACIER_IR"), {})
        with pytest.raises(StoreError, match="lacks this storage class"):
            store.put(replace(UPLOAD, storage_class="GLACIER_IR"))
        store = ObjectStore(stub.settings(S3_PROVIDER="aws", S3_ADDRESSING_STYLE="path"), {})
        store.put(replace(UPLOAD, storage_class="STANDARD_IA"))  # the preset's, of which the user said nothing
        assert stub.objects


def test_an_object_that_is_refused_for_its_own_sake_costs_few_requests() -> None:
    """Leaving away does not help: it is not tried at each of them."""
    with stub_s3() as stub:
        stub.answering = lambda _: refusal(400, "InvalidArgument")
        store = ObjectStore(stub.settings(), {})
        for _ in range(10):
            with pytest.raises(StoreError):
                store.put(replace(UPLOAD, tags={"frigate": "live"}))
        assert len(stub.requests) == 11


@pytest.mark.parametrize(
    ("code", "message", "wanted"),
    [
        # AWS and Backblaze; Content-MD5, which is always sent, satisfies them
        ("InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters", ("content-md5",)),
        # a server that knows only the new header
        ("MissingUploadObjectWithObjectLockHeaders", "told", ("x-amz-sdk-checksum-algorithm", "x-amz-checksum-sha256")),
        ("InvalidRequest", "x-amz-checksum-sha256 is required", ("x-amz-checksum-sha256",)),
    ],
)  # fmt: skip
def test_a_bucket_with_object_lock_gets_the_checksum_that_it_asks_for(
    code: str, message: str, wanted: tuple[str, ...]
) -> None:
    """At once, and plain: no trailer."""
    with stub_s3() as stub:
        stub.answering = lambda request: (
            refusal(400, code, message)
            if request.method == "PUT" and any(name not in request.headers for name in wanted)
            else None
        )
        store = ObjectStore(stub.settings(), {})
        for number in range(3):
            store.put(replace(UPLOAD, key=f"{number}.jpg"), create=True)
        assert len(stub.objects) == 3
        assert stub.methods().count("PUT") <= 4
        assert not any("x-amz-trailer" in request.headers for request in stub.requests)


def test_a_checksum_that_was_asked_for_is_not_left_away_again() -> None:
    """A refusal of one object in a bucket with Object Lock is not the checksum's, which that bucket wants."""
    with stub_s3(is_locked=True) as stub:
        store = ObjectStore(stub.settings(), {})
        store.put(UPLOAD)
        stub.answering = to_puts(refusal(400, "InvalidArgument"))
        stub.requests.clear()
        with pytest.raises(StoreError):
            store.put(replace(UPLOAD, key="b.jpg"))
        assert stub.methods() == ["PUT"]
        assert "x-amz-checksum-sha256" in stub.requests[0].headers
