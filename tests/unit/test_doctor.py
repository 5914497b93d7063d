"""What the doctor concludes from what it saw; each decision is a pure function, or looks at a folder of the test."""

from __future__ import annotations

import errno
import fcntl
import http.server
import io
import re
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from frigate_s3_mirror import bucket_checks, local_checks
from frigate_s3_mirror.bucket_checks import (
    NAMES,
    Attempt,
    LockSeen,
    Trial,
    blame,
    judge_bucket,
    judge_conditional_put,
    judge_list,
    judge_lock,
    judge_region,
    key_of,
    redirected,
    upload_for,
    without,
)
from frigate_s3_mirror.bucket_fixes import fix_of, seen_of
from frigate_s3_mirror.doctor import ALERTS, LOCAL, OVER_HTTP, REMOTE, Doctor, Report, folders_of
from frigate_s3_mirror.doctor_view import line, summary
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Event, FrigateError
from frigate_s3_mirror.finding import Finding, Verdict, failed, ok, skipped, warning
from frigate_s3_mirror.folders import DiskFolder, Expected
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME, LOCK_NAME
from frigate_s3_mirror.local_checks import (
    ClipsSeen,
    DatabaseSeen,
    StateSeen,
    database_fix,
    judge_clips,
    judge_database,
    judge_inotify,
    judge_state,
    look_at_clips,
    look_at_state,
    type_in,
)
from frigate_s3_mirror.network_checks import (
    Endpoint,
    Reach,
    Stage,
    endpoint_of,
    http_date,
    is_reachable,
    judge_answer,
    judge_clock,
    judge_tls,
    judge_way,
    reach,
)
from frigate_s3_mirror.retry import ErrorClass
from frigate_s3_mirror.s3 import Stored
from frigate_s3_mirror.s3_errors import CODES, StoreError, classify
from frigate_s3_mirror.settings import Settings
from http_listener import serving

NOW = 1_800_000_000.0
ELSEWHERE = Endpoint(is_tls=True, host="s3.example.com", port=443, path="/b")
MINIMAL = {"S3_BUCKET": "my-bucket", "S3_ACCESS_KEY": "key-of-mine", "S3_SECRET_KEY": "secret-of-mine"}


def settings(**more: str) -> Settings:
    return load({**MINIMAL, "S3_ENDPOINT_URL": "http://127.0.0.1:9", **more}).settings


def refusal(status: int, code: str, message: str = "So it is.") -> StoreError:
    """What S3 answered, through the one place that knows its errors."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return classify(Exception(f"Server returned non-2xx status code: {status} X: {body}"), "my-bucket")


def trial(*attempts: Attempt, **more: Any) -> Trial:
    return Trial("p/.mirror/doctor-x.json", b"{}", attempts, **more)


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


# -- the bucket --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "check"),
    [
        (403, "SignatureDoesNotMatch", "credentials"),
        (403, "InvalidAccessKeyId", "credentials"),
        (403, "AccessDenied", "put"),
        (404, "NoSuchBucket", "bucket"),
        (400, "AuthorizationHeaderMalformed", "region"),
        (301, "PermanentRedirect", "region"),
        (400, "InvalidStorageClass", "storage class"),
        (403, "RequestTimeTooSkewed", "put"),
        (400, "TeapotBroken", "put"),
        (503, "SlowDown", "put"),
    ],
)
def test_one_refusal_fails_one_check_and_the_rest_is_skipped(status: int, code: str, check: str) -> None:
    """Every check gets a line; what S3 did not come to is not called failed."""
    findings = judge_bucket(settings(), trial(Attempt("IA", False, error=refusal(status, code))), None)
    assert [f.name for f in findings] == list(NAMES)
    assert [f.name for f in findings if f.verdict is Verdict.FAILED] == [check]
    assert by_name(findings)[check].fix


def test_a_storage_class_is_blamed_when_the_upload_works_without_it() -> None:
    """Also by servers whose error does not speak of it (Ceph says InvalidArgument alone)."""
    attempts = Attempt("STANDARD_IA", False, error=refusal(400, "InvalidArgument")), Attempt(None, False, "x")
    findings = by_name(judge_bucket(settings(S3_STORAGE_CLASS="STANDARD_IA"), trial(*attempts), None))
    assert findings["storage class"].verdict is Verdict.FAILED
    assert "S3_STORAGE_CLASS" in findings["storage class"].fix
    assert findings["put"].verdict is Verdict.OK


def test_a_checksum_is_blamed_when_the_upload_works_without_it_only() -> None:
    """Then nothing is known about the storage class."""
    error = refusal(400, "InvalidRequest")
    attempts = Attempt("STANDARD_IA", True, error=error), Attempt(None, True, error=error), Attempt(None, False, "x")
    findings = by_name(judge_bucket(settings(S3_PROVIDER="aws", S3_ADDRESSING_STYLE="path"), trial(*attempts), None))
    assert findings["checksum"].verdict is Verdict.FAILED
    assert findings["storage class"].verdict is Verdict.SKIPPED


@pytest.mark.parametrize("place", [{}, {"S3_ENDPOINT_URL": "https://s3.example.com", "S3_PROVIDER": "aws"}])
def test_leaving_the_checksum_out_changes_nothing_else(place: dict[str, str]) -> None:
    """The requests still go to the same bucket at the same host, with the same keys."""
    environ = {**MINIMAL, **place}
    full = load(environ).settings
    less = without(full, environ, Attempt(None, False))
    assert (full.preset.sha256_checksum, less.preset.sha256_checksum) == (True, False)
    assert endpoint_of(less) == endpoint_of(full)
    assert (less.access_key, less.secret_key) == (full.access_key, full.secret_key)


@pytest.mark.parametrize(
    ("stored", "verdict"),
    [(b"{}", Verdict.OK), (b"{}junk", Verdict.FAILED), (refusal(403, "AccessDenied"), Verdict.SKIPPED)],
)
def test_an_etag_that_differs_is_settled_by_reading_back(stored: bytes | StoreError, verdict: Verdict) -> None:
    """Encrypted buckets have such ETags; only other content is wrong, and what was not read back is not called fine."""
    findings = judge_bucket(settings(), trial(Attempt(None, False, "0" * 32), stored=stored), None)
    assert by_name(findings)["checksum"].verdict is verdict


def test_a_region_is_right_wrong_or_unknown() -> None:
    """The header tells; a refusal on its account fails; a server that does not care gets a warning."""
    assert judge_region("eu-west-1", "eu-west-1", None, is_blamed=False).verdict is Verdict.OK
    assert judge_region("eu-west-1", None, None, is_blamed=False).verdict is Verdict.OK
    assert judge_region("eu-west-1", "us-east-1", None, is_blamed=False).verdict is Verdict.WARNING
    wrong = judge_region("eu-west-1", "us-east-1", refusal(301, "PermanentRedirect"), is_blamed=True)
    assert (wrong.verdict, wrong.fix) == (Verdict.FAILED, "Set S3_REGION=us-east-1.")
    signature = judge_region("eu-west-1", "us-east-1", refusal(403, "SignatureDoesNotMatch"), is_blamed=False)
    assert signature.verdict is Verdict.FAILED
    assert judge_region("x", None, refusal(403, "AccessDenied"), is_blamed=False).verdict is Verdict.SKIPPED


def test_what_the_mirror_does_not_need_never_fails() -> None:
    """Neither listing nor conditional puts."""
    for answer in (True, False, refusal(501, "NotImplemented"), refusal(403, "AccessDenied"), None):
        assert judge_conditional_put(answer).verdict in {Verdict.OK, Verdict.SKIPPED}
    assert "fine" in judge_list(refusal(403, "AccessDenied")).seen
    assert judge_list(refusal(503, "SlowDown")).verdict is Verdict.SKIPPED


def test_the_small_object_looks_like_a_snapshot() -> None:
    """Same storage class, metadata in ASCII though a value is not, and a key that any site name is safe in."""
    chosen = settings(S3_SITE="my site/é", S3_PATH_PREFIX="a/b", S3_STORAGE_CLASS="GLACIER_IR")
    upload = upload_for(chosen, NOW)
    assert upload.key == key_of(chosen) == "a/b/.mirror/doctor-my-site--.json"
    assert upload.storage_class == "GLACIER_IR"
    assert "%E2%98%83" in upload.metadata["label"]
    assert all(value.isascii() for value in upload.metadata.values())


_NO_FIX = re.compile(r"tried again|the server refuses|asks to slow down|was damaged on its way|in the way|\?$")
_VERBS = {
    "Allow",
    "Check",
    "Choose",
    "Copy",
    "Correct",
    "Create",
    "For",
    "Free",
    "Keep",
    "Let",
    "Look",
    "Make",
    "Raise",
    "Read",
    "Remove",
    "Renew",
    "Run",
    "Set",
    "Shorten",
    "Sign",
    "Start",
    "Write",
}


def assert_is_a_fix(fix: str) -> None:
    """It says what to do: neither that it will be tried again, nor only what is the case."""
    assert fix.split(maxsplit=1)[0].strip(",;:") in _VERBS, fix
    assert not _NO_FIX.search(fix), fix
    assert fix.endswith(".")


NO_ANSWERS = (
    "No credentials were found: set S3_ACCESS_KEY and S3_SECRET_KEY.",
    "The server's certificate is not trusted: for a private authority set S3_CA_BUNDLE to its PEM file.",
    "The server's certificate has expired: renew it, and check this machine's clock.",
    "The server's certificate is not valid yet: check this machine's clock (NTP).",
    "The server's certificate is for another host: S3_ENDPOINT_URL must have a name that is in it.",
    "The server does not speak TLS on this port: begin S3_ENDPOINT_URL with http://, or correct its port.",
    "The server speaks TLS on this port: begin S3_ENDPOINT_URL with https://.",
    "The S3 host name is not found (DNS): check the network and S3_ENDPOINT_URL.",
    "The S3 server refuses connections: is it running, and is S3_ENDPOINT_URL right?",
    "S3 did not answer in time.",
    "The connection to S3 was reset: look at the server, and at what stands before it.",
    "The connection to S3 failed (something odd).",
)
"""What is said where there is no answer."""
ALL_ERRORS = [
    *(refusal(status, code) for code in CODES for status in (400, 403, 404, 501, 503)),
    *(refusal(status, "") for status in range(300, 600)),
    *(
        refusal(status, code, "")
        for code in ("InternalError", "ServiceUnavailable", "Teapot", "MethodNotAllowed")
        for status in (400, 405, 500, 503)
    ),
    *(StoreError(ErrorClass.TRANSIENT, sentence) for sentence in NO_ANSWERS),
    StoreError(ErrorClass.TRANSIENT, "S3 says nothing of use: it will be tried again."),
    *(
        classify(Exception(text))
        for text in ("", "reset by peer", "network unreachable", "incomplete message", "invalid HTTP version parsed")
    ),
    classify(OSError(5, "Input/output error")),
    refusal(
        400,
        "InvalidRequest",
        "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
    ),
]


@pytest.mark.parametrize("name", ["credentials", "put", "region", "bucket", "storage class", "checksum"])
def test_every_error_has_a_fix_that_is_an_action(name: str) -> None:
    """All codes, all statuses, all that is no answer: whatever check it falls on."""
    for error in ALL_ERRORS:
        assert_is_a_fix(bucket_checks._fix(name, settings(), error))
    assert len(ALL_ERRORS) > 450


def test_no_finding_about_an_error_is_without_a_fix() -> None:
    """Whole reports, at each error, before and after something was left out: a cross has an action, and only what was seen has a tick."""
    for error in ALL_ERRORS:
        for tried in (
            trial(Attempt(None, False, error=error)),
            trial(listing=error),
            trial(Attempt(None, False, error=error), is_listed=True),
            trial(Attempt("IA", True, error=error, with_tags=True, with_sse=True), Attempt(None, False, "x")),
            trial(
                Attempt("IA", False, error=error),
                Attempt(None, False, "x"),
                stored=error,
                created_again=error,
                listing=error,
                described=error,
            ),
        ):
            some = settings(S3_STORAGE_CLASS="IA", S3_SSE="AES256", S3_LIVE="true", S3_LIVE_RETENTION_DAYS="7")
            findings = judge_bucket(some, tried, None)
            assert [f.name for f in findings] == list(NAMES)
            for finding in findings:
                if finding.verdict in {Verdict.FAILED, Verdict.WARNING}:
                    assert_is_a_fix(finding.fix)
            if tried.error is not None:
                ticked = {f.name for f in findings if f.verdict is Verdict.OK}
                assert ticked <= ({"credentials", "bucket", "list"} if tried.is_listed else {"credentials"})
                if "credentials" in ticked and not tried.is_listed:
                    assert error.code in {"AccessDenied", "NoSuchBucket", "QuotaExceeded", "InvalidStorageClass"}


@given(st.text(), st.sampled_from(["AccessDenied", "NoSuchBucket", "Odd", "InvalidArgument"]), st.integers(300, 599))
def test_every_answer_of_s3_makes_two_sentences(message: str, code: str, status: int) -> None:
    """Whatever a server writes into its message."""
    error = refusal(status, code, message)
    assert seen_of(error).endswith(".")
    assert_is_a_fix(fix_of(error))
    assert blame(error) in {*NAMES, "clock", ""}


def test_what_is_refused_is_found_by_leaving_it_out() -> None:
    """The tag of B2 and R2, the tag of a key that may not tag, SSE; one cross, with the settings that it is about."""
    some = settings(S3_CLIP_RETENTION_DAYS="7", S3_ARTIFACTS="snapshot,clip", S3_SSE="AES256")
    for status, code, word in (
        (400, "InvalidArgument", "Remove"),
        (501, "NotImplemented", "Remove"),
        (403, "AccessDenied", "s3:PutObjectTagging"),
    ):
        first = Attempt(None, False, error=refusal(status, code), with_tags=True, with_sse=True)
        findings = by_name(
            judge_bucket(some, trial(first, replace(first, error=None, etag="x", with_tags=False)), None)
        )
        assert [f.name for f in findings.values() if f.verdict is Verdict.FAILED] == ["tags"]
        assert word in findings["tags"].fix
        assert "S3_CLIP_RETENTION_DAYS" in findings["tags"].fix
        assert bucket_checks._is_worth_another_try(first)
        findings = by_name(judge_bucket(some, trial(first, replace(first, error=None, etag="x", with_sse=False)), None))
        assert [f.name for f in findings.values() if f.verdict is Verdict.FAILED] == ["encryption"]


def test_metadata_that_a_server_drops_is_worth_a_warning() -> None:
    """It says what is lost with it."""
    sent = {"event-id": "1", "sha256": "ab", "label": "x"}
    for kept, verdict in (
        (sent, Verdict.OK),
        ({}, Verdict.WARNING),
        ({"event-id": "1", "label": "X"}, Verdict.WARNING),
    ):
        described = Stored(2, "x", NOW, {**kept, "content-type": "application/json"})
        finding = by_name(
            judge_bucket(settings(), trial(Attempt(None, False, "x"), described=described, metadata=sent), None)
        )["metadata"]
        assert finding.verdict is verdict
        assert verdict is Verdict.OK or "restore" in finding.seen
    refused = trial(Attempt(None, False, "x"), described=refusal(403, "AccessDenied"), metadata=sent)
    assert by_name(judge_bucket(settings(), refused, None))["metadata"].verdict is Verdict.SKIPPED


def test_an_object_of_another_size_is_wrong() -> None:
    """Whatever the ETag says."""
    tried = trial(Attempt(None, False, "x"), described=Stored(1, "x", NOW, {}), stored=b"{}")
    assert by_name(judge_bucket(settings(), tried, None))["checksum"].verdict is Verdict.FAILED


def test_object_lock_is_told_where_it_can_be_asked_for() -> None:
    assert judge_lock(LockSeen(is_on=True)).verdict is judge_lock(LockSeen(is_on=False)).verdict is Verdict.OK
    assert judge_lock(LockSeen(why="Not allowed.")).verdict is Verdict.SKIPPED


def test_another_region_is_one_cross() -> None:
    """AWS said 301 to the unsigned request, so nothing was put; nothing is said of an S3 that does not answer."""
    findings = judge_bucket(settings(S3_REGION="us-east-1"), trial(listing=redirected("eu-west-3")), "eu-west-3")
    assert [f.name for f in findings if f.verdict is Verdict.FAILED] == ["region"]
    assert findings[0].fix == "Set S3_REGION=eu-west-3."
    assert not any(f.verdict is Verdict.OK for f in findings)


# -- the way to S3 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [(0.4, Verdict.OK), (-59, Verdict.OK), (90, Verdict.WARNING), (-90, Verdict.WARNING), (302, Verdict.FAILED)],
)
def test_a_clock_may_be_a_minute_wrong(ahead: float, verdict: Verdict) -> None:
    """Above that it is a warning, above five minutes S3 refuses."""
    assert judge_clock(Reach(server_time=NOW, local_time=NOW + ahead)).verdict is verdict


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_login_page_is_no_s3(status: int) -> None:
    """Its redirect is named without its query, nothing after it is tried; S3's own redirects are about the region."""
    seen = Reach(("1.2.3.4",), status=status, location="https://sso.example.com/login")
    findings = by_name(judge_way(ELSEWHERE, seen, NOW, has_bundle=False))
    assert findings["answer"].verdict is Verdict.FAILED
    assert "sso.example.com/login" in findings["answer"].seen
    assert_is_a_fix(findings["answer"].fix)
    assert not is_reachable(seen)
    plain = replace(ELSEWHERE, is_tls=False)
    assert "https://" in judge_answer(plain, replace(seen, location=f"https://{plain.host}/b")).fix
    assert is_reachable(replace(seen, is_of_s3=True))
    assert judge_answer(ELSEWHERE, replace(seen, is_of_s3=True)).verdict is Verdict.OK


def test_a_server_without_a_date_is_no_failure() -> None:
    assert judge_clock(Reach()).verdict is Verdict.SKIPPED
    assert http_date("no date at all") is None
    assert http_date("Mon, 23 Nov 2026 23:00:30 GMT") == 1795474830.0


@pytest.mark.parametrize(
    ("days", "verdict"), [(100, Verdict.OK), (15, Verdict.OK), (13, Verdict.WARNING), (0.1, Verdict.WARNING)]
)
def test_a_certificate_is_worth_a_word_two_weeks_before_its_end(days: float, verdict: Verdict) -> None:
    seen = Reach(expires_at=NOW + days * 86400)
    assert judge_tls(ELSEWHERE, seen, NOW, has_bundle=False).verdict is verdict


@pytest.mark.parametrize("stage", [Stage.DNS, Stage.CONNECTION, Stage.TLS, Stage.ANSWER])
def test_the_first_thing_that_fails_is_the_only_one(stage: Stage) -> None:
    """The steps after it are skipped with its name."""
    findings = judge_way(ELSEWHERE, Reach(("1.2.3.4",), stage, OSError(5, "Broken"), NOW * 2), NOW, has_bundle=False)
    assert [f.name for f in findings if f.verdict is Verdict.FAILED] == [stage]
    later = [f for f in findings if f.verdict is Verdict.SKIPPED]
    assert {f.seen for f in later} == {f"Needs {stage}."}
    assert len(findings) == len(Stage)


@pytest.mark.parametrize(
    ("code", "word"),
    [(10, "Renew"), (9, "clock"), (62, "alternative names"), (18, "S3_CA_BUNDLE"), (20, "S3_CA_BUNDLE")],
)
def test_each_certificate_error_has_its_own_fix(code: int, word: str) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "so it is"
    finding = judge_tls(ELSEWHERE, Reach(("1.2.3.4",), Stage.TLS, error), NOW, has_bundle=False)
    assert word in finding.fix


def test_plain_http_to_another_machine_is_worth_a_warning() -> None:
    """On this machine it is not."""
    plain = replace(ELSEWHERE, is_tls=False)
    assert judge_tls(plain, Reach(), NOW, has_bundle=False).verdict is Verdict.WARNING
    assert judge_tls(replace(plain, host="127.0.0.1"), Reach(), NOW, has_bundle=False).verdict is Verdict.SKIPPED


def test_requests_go_where_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS has the bucket in the host name; a proxy is named without its password."""
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    aws = endpoint_of(load({**MINIMAL, "S3_REGION": "eu-west-1"}).settings)
    assert (aws.host, aws.port, aws.path) == ("my-bucket.s3.eu-west-1.amazonaws.com", 443, "/")
    with_path = endpoint_of(settings(S3_ENDPOINT_URL="https://x.supabase.co/storage/v1/s3"))
    assert with_path.path == "/storage/v1/s3/my-bucket"
    own = endpoint_of(settings())
    assert (own.host, own.port, own.path, own.is_tls) == ("127.0.0.1", 9, "/my-bucket", False)
    monkeypatch.setenv("HTTP_PROXY", "http://me:pass-word@proxy.invalid:3128/")
    assert endpoint_of(settings()).proxy == "proxy.invalid:3128"
    findings = judge_way(endpoint_of(settings()), Reach(), NOW, has_bundle=False)
    assert {f.verdict for f in findings} == {Verdict.SKIPPED}


class _OldDate(http.server.BaseHTTPRequestHandler):
    """A server whose clock stands an hour back."""

    def do_HEAD(self) -> None:
        self.send_response_only(403)
        self.send_header("Date", formatdate(NOW, usegmt=True))
        self.send_header("x-amz-bucket-region", "mars-1")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def test_the_clock_is_compared_with_the_servers_date() -> None:
    """A real request to a real server with a wrong clock."""
    with http.server.HTTPServer(("127.0.0.1", 0), _OldDate) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        seen = reach(Endpoint(is_tls=False, host="127.0.0.1", port=server.server_port, path="/b"), None)
        thread.join()
    assert (seen.server_time, seen.bucket_region, seen.status) == (NOW, "mars-1", 403)
    assert judge_clock(seen).verdict is Verdict.FAILED


@contextmanager
def _mumbling_server() -> Iterator[int]:
    """Accepts one connection and says something that is not HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def mumble() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x15\x03\x01 mumble\r\n")

        thread = threading.Thread(target=mumble)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_something_else_than_http_is_told() -> None:
    """A TLS port behind http://, for one."""
    with _mumbling_server() as port:
        endpoint = Endpoint(is_tls=False, host="127.0.0.1", port=port, path="/b")
        seen = reach(endpoint, None)
    findings = by_name(judge_way(endpoint, seen, NOW, has_bundle=False))
    assert findings["answer"].verdict is Verdict.FAILED
    assert "https://" in findings["answer"].fix


# -- this machine ------------------------------------------------------------------------------------------------------


def test_a_database_is_judged_by_what_it_holds(tmp_path: Path) -> None:
    """Snapshots switched off, and filters that let nothing through, are worth a warning."""
    full = DatabaseSeen(10, 8, 8, NOW - 60, ())
    assert judge_database(tmp_path, full, NOW, is_filtered=False).verdict is Verdict.OK
    assert judge_database(tmp_path, replace(full, with_snapshot=0), NOW, is_filtered=False).verdict is Verdict.WARNING
    unwanted = judge_database(tmp_path, replace(full, wanted=0), NOW, is_filtered=True)
    assert (unwanted.verdict, "S3_CAMERAS" in unwanted.fix) == (Verdict.FAILED, True)
    assert judge_database(tmp_path, replace(full, unfit=1), NOW, is_filtered=False).verdict is Verdict.WARNING
    assert judge_database(tmp_path, DatabaseSeen(0, 0, 0, None, ()), NOW, is_filtered=False).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("unable to open database file", "WAL"),
        ("attempt to write a readonly database", "WAL"),
        ("No such file or directory", "FRIGATE_DB_PATH"),
        ("is not a Frigate database: it has no table 'event'", "database.path"),
        ("file is not a database", "database.path"),
        ("database is locked", "minute"),
        ("Permission denied", "user"),
        ("disk I/O error", "disk"),
        ("database disk image is malformed", "backup"),
    ],
)
def test_each_database_error_has_its_own_fix(said: str, word: str, tmp_path: Path) -> None:
    finding = judge_database(
        tmp_path, FrigateError(f"Frigate's database x cannot be read ({said})."), NOW, is_filtered=False
    )
    assert finding.verdict is Verdict.FAILED
    assert word in finding.fix == database_fix(said)


def test_a_clips_folder_without_the_databases_pictures_is_suspicious(tmp_path: Path) -> None:
    """It may belong to another Frigate, or be a mount point without its share; single missing files are normal."""
    assert "Another Frigate" in judge_clips(tmp_path, ClipsSeen(None, 1000, None, 20, 0)).fix
    for few in (
        ClipsSeen(None, 5, None, 20, 1),
        ClipsSeen(None, 3, None, 20, 3),
        ClipsSeen(None, 60, None, 20, 20, 20, 2),
        ClipsSeen(None, 9, None, 20, 14, 20, 20),
    ):
        finding = judge_clips(tmp_path, few)
        assert (finding.verdict, "share mounted?" in finding.fix) == (Verdict.WARNING, True)
    assert judge_clips(tmp_path, ClipsSeen(None, 5, None, 20, 18, 20, 20)).verdict is Verdict.OK
    assert judge_clips(tmp_path, ClipsSeen(None, 0)).verdict is Verdict.OK
    doubted = judge_clips(tmp_path, ClipsSeen(None, 5, None, 20, 18, 20, 20, "It is another folder than before."))
    assert (doubted.verdict, doubted.seen) == (Verdict.FAILED, "It is another folder than before.")


@pytest.mark.parametrize("found", range(21))
@pytest.mark.parametrize("content", [(), ("faces",), ("notes.txt",)])
def test_doctor_and_service_judge_the_clips_folder_alike(tmp_path: Path, found: int, content: tuple[str, ...]) -> None:
    """Where the service trusts no folder, doctor has no tick, whatever share of twenty pictures is there."""
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in content:
        (clips / name).mkdir()
    events = [Event(f"{n}.5-abcdef", "yard", "person", None, float(n), None, True, (), None, False) for n in range(20)]
    for event in events[:found]:
        (clips / f"{event.camera}-{event.id}.jpg").write_bytes(b"x")
    folder = DiskFolder(clips, expected=lambda _: Expected(20, found))
    finding = judge_clips(clips, look_at_clips(clips, tuple(events), (), folder))
    assert (finding.verdict is Verdict.FAILED) == (folder.absence() is not None)
    assert (finding.verdict is Verdict.FAILED) == (found < 5)
    assert judge_clips(tmp_path, ClipsSeen(None, 1, "x cannot be read (Permission denied)")).verdict is Verdict.FAILED


def test_inotify_is_never_a_failure() -> None:
    """The scan carries the job where it is blind."""
    assert judge_inotify(None, "ext4").verdict is Verdict.OK
    assert "scan" in judge_inotify(None, "nfs4").seen
    assert "max_user_watches" in judge_inotify(OSError(errno.ENOSPC, "No space"), "ext4").fix
    assert "max_user_instances" in judge_inotify(OSError(errno.EMFILE, "Too many"), "ext4").fix
    assert judge_inotify(OSError(errno.ENOENT, "Not there"), "").verdict is Verdict.WARNING


def test_the_innermost_mount_tells_the_type() -> None:
    """Mount points with spaces are escaped; the last mount on a point covers the earlier ones."""
    mounts = "a / overlay rw 0 0\nb /media ext4 rw 0 0\nc /media/my\\040nas nfs4 rw 0 0\nd /media ext4 rw 0 0\n"
    assert type_in(mounts, Path("/media/my nas/clips")) == "nfs4"
    assert type_in(mounts, Path("/media/x")) == "ext4"
    assert type_in(mounts, Path("/mediax")) == "overlay"
    assert type_in("", Path("/x")) == ""


def test_a_state_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    """Folders that were made for the trial are gone again; the service makes its own."""
    folder = tmp_path / "new" / "state"
    seen = look_at_state(folder)
    assert (seen.problem, seen.journal, seen.ledger_bytes) == (None, "wal", None)
    assert judge_state(folder, seen, "ext4").verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_of_a_running_service_is_fine(tmp_path: Path) -> None:
    """It is said, and its ledger is only read."""
    ledger = Ledger(tmp_path / FILE_NAME)
    ledger.open()
    ledger.close()
    with (tmp_path / LOCK_NAME).open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        seen = look_at_state(tmp_path)
    assert seen.is_running
    finding = judge_state(tmp_path, seen, "ext4")
    assert finding.verdict is Verdict.OK
    assert "running" in finding.seen


def test_a_ledger_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """Damaged, or of a newer version."""
    (tmp_path / FILE_NAME).write_bytes(b"not a database at all, but long enough to be looked at" * 30)
    assert judge_state(tmp_path, look_at_state(tmp_path), "ext4").verdict is Verdict.FAILED
    (tmp_path / FILE_NAME).unlink()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "newer" in judge_state(tmp_path, look_at_state(tmp_path), "ext4").seen


def test_state_on_a_network_disk_or_a_full_one_is_a_warning(tmp_path: Path) -> None:
    good = StateSeen(None, "wal", 10**10)
    assert judge_state(tmp_path, good, "cifs").verdict is Verdict.WARNING
    assert judge_state(tmp_path, replace(good, free_bytes=1000), "ext4").verdict is Verdict.WARNING


def test_folders_are_known_even_when_other_settings_are_wrong(tmp_path: Path) -> None:
    """Wrong folder variables themselves leave nothing to look at."""
    found = folders_of({"FRIGATE_DB_PATH": str(tmp_path), "S3_REGION": "no good"})
    assert found is not None
    assert found.db_path == tmp_path
    assert folders_of({"FRIGATE_DB_PATH_FILE": str(tmp_path / "none")}) is None


# -- the report --------------------------------------------------------------------------------------------------------


def test_the_documentation_has_every_check_and_every_field() -> None:
    """docs/doctor.md is what programs are written against."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "doctor.md").read_text()
    assert [
        name for name in ("settings", *LOCAL, *OVER_HTTP, "recordings", *REMOTE, *ALERTS) if f"| `{name}` |" not in text
    ] == []
    report = Report((failed("DNS", "No.", "Do."),), None).to_dict()
    fields = [*report, *(f"checks[].{name}" for name in report["checks"][0])]
    assert [field for field in fields if f"`{field}`" not in text and field != "checks"] == []


def test_the_exit_status_tells_settings_from_the_rest() -> None:
    """A warning is no failure."""
    fine, odd, bad = ok("a", "Well."), warning("b", "Hm.", "Look."), failed("c", "No.", "Do.")
    assert Report((fine, odd), None).exit_status == 0
    assert Report((fine, odd, bad), None).exit_status == 1
    assert Report((failed("settings", "No.", "Do."), bad), None).exit_status == 78


def test_a_secret_that_a_server_sends_back_is_hidden() -> None:
    """The sentences hold no secret of ours; a server's message might."""
    port = _closed_port()
    environ = {**MINIMAL, "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}", "S3_PATH_PREFIX": MINIMAL["S3_SECRET_KEY"]}
    environ |= {"FRIGATE_DB_PATH": f"/nowhere/{MINIMAL['S3_SECRET_KEY']}"}
    found = list(Doctor(environ, lambda: NOW).findings())
    assert not any(MINIMAL["S3_SECRET_KEY"] in finding.seen + finding.fix for finding in found)


def test_a_check_that_breaks_down_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens in one check, the report is whole otherwise, has an exit status, and holds no text of the error."""

    def breaks(*_: object, **__: object) -> None:
        raise KeyError(MINIMAL["S3_SECRET_KEY"])

    monkeypatch.setattr(local_checks, "look_at_database", breaks)
    monkeypatch.setattr(bucket_checks, "try_bucket", breaks)
    with serving(_OldDate) as port:
        environ = {**MINIMAL, "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}", "S3_STATUS_LISTEN": "off"}
        doctor = Doctor(environ, lambda: NOW)
        findings = list(doctor.findings())
    broken = [finding for finding in findings if "KeyError" in finding.seen]
    assert [finding.name for finding in broken] == ["frigate", "bucket"]
    assert doctor.report(findings).exit_status == 1
    assert findings[-1].name == "status page"
    assert not any(MINIMAL["S3_SECRET_KEY"] in finding.seen for finding in findings)


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_finding_is_readable_at_80_columns_and_without_colour() -> None:
    """The fix is beneath, indented; a terminal gets colours, a pipe none; ASCII terminals get ASCII."""
    finding = failed("storage class", "A long sentence about a class. " * 4, "Do something about it. " * 4)
    plain, coloured = io.StringIO(), io.StringIO()
    Console(file=plain, width=80, highlight=False).print(line(finding))
    Console(file=coloured, width=80, highlight=False, force_terminal=True).print(line(finding))
    lines = plain.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("✗ storage class   A long")
    assert any(text.startswith(" " * 18 + "→ Do something") for text in lines)
    assert "\x1b" not in plain.getvalue()
    assert "\x1b[" in coloured.getvalue()
    bare = io.StringIO()
    Console(file=bare, width=80).print(line(finding, ascii_only=True))
    assert bare.getvalue().isascii()


def test_the_summary_says_what_to_do_next() -> None:
    bad = failed("DNS", "No.", "Do.")
    assert "1 failed" in summary(Report((bad, skipped("TLS", "Needs DNS.")), None)).plain
    assert "DNS" in summary(Report((bad,), None)).plain
    assert "`run`" in summary(Report((ok("a", "Well."),), None)).plain


def test_another_program_says_nothing_about_the_keys() -> None:
    """A login page does not know the access key: the check of the credentials is not passed, but skipped."""
    from frigate_s3_mirror.s3_errors import refusal

    page = refusal(302, "", {"location": "http://login.example/in"})
    findings = by_name(judge_bucket(settings(), trial(Attempt(None, False, error=page)), None))
    assert findings["credentials"].verdict is not findings["put"].verdict
    assert findings["credentials"].seen == "Needs put."
    assert "login.example" in findings["put"].seen
