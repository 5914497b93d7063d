"""What `doctor` asks of S3, and in which order; against real servers behind a proxy, and against what is no S3 at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest

from conftest import WatchedTarget
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.doctor import Doctor, Report
from frigate_s3_mirror.finding import Finding, Verdict
from http_listener import serving
from recording_proxy import Fault, FaultKind
from servers import Target

Examine = Callable[..., dict[str, Finding]]


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        simulated.end_event(simulated.begin_event(camera="yard", label="person"))
        yield simulated


@pytest.fixture
def examine(frigate: SimulatedFrigate) -> Examine:
    """Runs the doctor; its findings by name."""

    def run(target: Target | int, **more: str) -> dict[str, Finding]:
        if isinstance(target, int):
            target = Target(f"http://127.0.0.1:{target}", "AKIA0123456789ABCDEF", "secret-of-the-stub", "my-bucket")
        environ = {
            **target.environment(),
            "FRIGATE_DB_PATH": str(frigate.db_path),
            "FRIGATE_CLIPS_DIR": str(frigate.clips_dir),
            "S3_PATH_PREFIX": "frigate",
            "S3_STATUS_LISTEN": "off",
            "S3_SITE": "home",
            **more,
        }
        findings = list(Doctor(environ).findings())
        assert all(finding.fix for finding in findings if finding.verdict in {Verdict.FAILED, Verdict.WARNING})
        return {finding.name: finding for finding in findings}

    return run


def failures(findings: dict[str, Finding]) -> list[str]:
    return [name for name, finding in findings.items() if finding.verdict is Verdict.FAILED]


class Stub(BaseHTTPRequestHandler):
    """As much of S3 as the doctor asks for; a class of its own for each test, for what it refuses and remembers."""

    objects: ClassVar[dict[str, tuple[bytes, dict[str, str]]]]
    puts: ClassVar[list[dict[str, str]]]
    drops_metadata = False
    refused_header = ""
    refusal = (501, "NotImplemented")

    def do_HEAD(self) -> None:
        body, metadata = self.objects.get(self.path, (b"", {}))
        self.send_response(200 if self.path in self.objects else 403)
        for name, value in {} if self.drops_metadata else metadata.items():
            self.send_header(name, value)
        self.send_header("ETag", f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
        self.send_header("Last-Modified", "Wed, 25 Nov 2026 12:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()

    def do_GET(self) -> None:
        if "list-type" in self.path:
            self._say(200, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        else:
            self._say(404, "<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.puts.append(headers)
        if self.refused_header and self.refused_header in headers:
            self._say(self.refusal[0], f"<Error><Code>{self.refusal[1]}</Code><Message>No.</Message></Error>")
            return
        self.objects[self.path] = (
            body,
            {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")},
        )
        self._say(200, "")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        if self.command == "PUT" and status == 200:
            self.send_header("ETag", f'"{hashlib.md5(self.objects[self.path][0], usedforsecurity=False).hexdigest()}"')
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def stub(**more: object) -> type[Stub]:
    return type("Stub", (Stub,), {"objects": {}, "puts": [], **more})


# -- it looks before it puts -------------------------------------------------------------------------------------------


def test_the_probe_is_as_large_as_a_snapshot_and_comes_after_a_look(
    watched_s3: WatchedTarget, examine: Examine
) -> None:
    """A hole in the path's MTU lets a small body through; and nothing is put before the bucket was asked for."""
    assert failures(examine(watched_s3)) == []
    exchanges = [e for e in watched_s3.proxy.requests() if e.headers.get("authorization")]
    methods = [exchange.method for exchange in exchanges]
    assert methods.index("PUT") > methods.index("GET")
    assert all(65_000 <= e.body_bytes <= 66_000 for e in exchanges if e.method == "PUT")
    assert "x-amz-meta-event-id" in next(e for e in exchanges if e.method == "PUT").headers


def test_a_missing_bucket_is_seen_without_an_upload(watched_s3: WatchedTarget, examine: Examine) -> None:
    """Some servers make a bucket for whoever puts with an administrator's key."""
    findings = examine(watched_s3, S3_BUCKET="no-such-bucket")
    assert failures(findings) == ["bucket"]
    assert watched_s3.proxy.requests("PUT") == []


def test_metadata_is_read_back(s3: Target, examine: Examine) -> None:
    assert examine(s3)["metadata"].verdict is Verdict.OK


def test_a_server_that_drops_metadata_gets_no_clean_bill(examine: Examine) -> None:
    """Uploads work, and what `restore` lives on is lost: a warning that says so."""
    with serving(stub(drops_metadata=True)) as port:
        findings = examine(port)
    assert (failures(findings), findings["metadata"].verdict) == ([], Verdict.WARNING)
    assert "restore" in findings["metadata"].seen


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument"), (403, "AccessDenied")])
def test_a_refused_tag_is_told_from_a_refused_upload(examine: Examine, status: int, code: str) -> None:
    """As R2 (501), B2 (400) and a key without s3:PutObjectTagging (403) answer; without retention settings none is sent."""
    with serving(stub(refused_header="x-amz-tagging", refusal=(status, code))) as port:
        findings = examine(port, S3_LIVE="true", S3_LIVE_RETENTION_DAYS="7", FRIGATE_URL="http://127.0.0.1:9")
        assert failures(findings) == ["tags"]
        assert "S3_LIVE_RETENTION_DAYS" in findings["tags"].fix
        assert findings["put"].verdict is Verdict.OK
        assert examine(port)["tags"].verdict is Verdict.SKIPPED


def test_a_refused_encryption_is_named(examine: Examine) -> None:
    with serving(stub(refused_header="x-amz-server-side-encryption")) as port:
        findings = examine(port, S3_SSE="AES256")
    assert failures(findings) == ["encryption"]
    assert "S3_SSE" in findings["encryption"].fix


# -- what is no S3 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 303, 307, 308])
def test_a_login_page_is_named_and_gets_nothing(examine: Examine, status: int) -> None:
    """No tick for credentials that nobody looked at, no word that it will be tried again, and no upload."""
    puts: list[str] = []

    class Login(Stub):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.send_header("Location", "https://sso.example.com/login?session=hidden")
            self.send_header("ETag", '"0123456789abcdef0123456789abcdef"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_PUT(self) -> None:
            puts.append(self.path)
            self.do_HEAD()

        do_GET = do_HEAD  # noqa: N815

    with serving(Login) as port:
        findings = examine(port)
    assert failures(findings) == ["answer"]
    assert "sso.example.com" in findings["answer"].seen
    assert "hidden" not in findings["answer"].seen
    assert findings["credentials"].verdict is Verdict.SKIPPED
    assert not puts


def test_a_gateway_that_sends_only_strangers_to_a_login_is_fine(examine: Examine) -> None:
    """An unsigned request is redirected, a signed one gets through."""

    class Gateway(Stub):
        objects: ClassVar[dict[str, tuple[bytes, dict[str, str]]]] = {}
        puts: ClassVar[list[dict[str, str]]] = []

        def do_HEAD(self) -> None:
            if self.headers.get("Authorization"):
                super().do_HEAD()
                return
            self.send_response(302)
            self.send_header("Location", "https://sso.example.com/")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Gateway) as port:
        findings = examine(port)
    assert failures(findings) == []
    assert findings["put"].verdict is Verdict.OK


def test_another_region_of_aws_is_told_once(examine: Examine) -> None:
    """AWS answers 301 without a Location; nothing says that S3 did not answer, and nothing is put."""

    class Elsewhere(Stub):
        puts: ClassVar[list[dict[str, str]]] = []

        def do_HEAD(self) -> None:
            self.send_response(301)
            self.send_header("x-amz-bucket-region", "eu-central-1")
            self.send_header("x-amz-request-id", "1234")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815

    with serving(Elsewhere) as port:
        findings = examine(port)
    assert failures(findings) == ["region"]
    assert findings["region"].fix == "Set S3_REGION=eu-central-1."
    assert not Elsewhere.puts
    assert not any("did not answer" in finding.seen for finding in findings.values())


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "InternalError"), (503, "SlowDown"), (400, ""), (405, "MethodNotAllowed"), (413, "EntityTooLarge")],
)
def test_what_the_server_says_has_an_action(
    moto_proxy: WatchedTarget, examine: Examine, status: int, code: str
) -> None:
    """A server without free volumes, a bare 400 of a TLS port, a console's port, a proxy's limit."""
    moto_proxy.proxy.inject(Fault(FaultKind.ANSWER, status=status, code=code))
    findings = examine(moto_proxy)
    assert failures(findings) == ["put"]
    assert "tried again" not in findings["put"].fix
    assert findings["credentials"].verdict is Verdict.OK  # the listing was given
    assert findings["bucket"].verdict is Verdict.OK
    assert findings["checksum"].verdict is Verdict.SKIPPED


def test_the_report_is_json_whatever_was_found(examine: Examine) -> None:
    with serving(stub(drops_metadata=True)) as port:
        report = Report(tuple(examine(port).values()), None)
    assert json.loads(json.dumps(report.to_dict()))["counts"]["warning"] >= 1
