"""`doctor`, run as its users run it, against real S3 servers: one thing is wrong at a time, and that one is named."""

from __future__ import annotations

import json
import socket
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest

from conftest import WITHOUT_RIGHTS, MakeMirror, RunningMirror, made
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from servers import Target, moto_server
from tls_front import Certificates, tls_front

KEY = "frigate/snapshots/.mirror/doctor-house-1.json"
S3_CHECKS = ("region", "credentials", "bucket", "put", "metadata", "checksum", "conditional put", "list")
NOT_ASKED_FOR = ("storage class", "tags", "encryption")
"""No setting of these tests needs them, so nothing is sent that could be accepted."""
Checks = dict[str, dict[str, Any]]


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        for _ in range(3):
            simulated.end_event(simulated.begin_event(camera="yard", label="person"))
        yield simulated


@pytest.fixture
def examine(frigate: SimulatedFrigate, mirror_for: MakeMirror) -> Callable[..., tuple[int, Checks]]:
    """Runs `doctor --json` with these variables; the exit status and the checks by name. No secret may be shown."""

    def run(target: Target, before: Sequence[str] = (), **more: str) -> tuple[int, Checks]:
        mirror = mirror_for(frigate, target, S3_SITE="house 1", **more)
        mirror.before = before
        done = mirror.command("doctor", "--json")
        assert_no_secret(mirror, done.stdout + done.stderr)
        report = json.loads(done.stdout)
        assert report["exit_status"] == done.returncode
        assert sum(report["counts"].values()) == len(report["checks"])
        assert all(check["fix"] for check in report["checks"] if check["verdict"] in {"failed", "warning"})
        return done.returncode, {check["name"]: check for check in report["checks"]}

    return run


Examine = Callable[..., tuple[int, Checks]]


def assert_no_secret(mirror: RunningMirror, output: str) -> None:
    assert mirror.environment["S3_SECRET_KEY"] not in output


def failures(checks: Checks) -> list[str]:
    return [name for name, check in checks.items() if check["verdict"] == "failed"]


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# -- healthy -----------------------------------------------------------------------------------------------------------


def test_a_healthy_mirror_passes(s3: Target, examine: Examine) -> None:
    """Every check has a line, and the one object that was written is where the report says."""
    status, checks = examine(s3)
    assert (status, failures(checks)) == (0, [])
    assert {"settings", "database", "clips folder", "state folder", "clock", "DNS", "TLS", *S3_CHECKS} <= set(checks)
    assert {checks[name]["verdict"] for name in S3_CHECKS} == {"ok"}
    assert {checks[name]["verdict"] for name in NOT_ASKED_FOR} == {"skipped"}
    assert KEY in checks["put"]["seen"]
    assert "3 events" in checks["database"]["seen"]
    assert "MD5" in checks["checksum"]["seen"]


def test_one_small_object_is_written_and_only_that(s3: Target, examine: Examine) -> None:
    """A second run writes the same key again; its metadata travels percent-encoded."""
    examine(s3)
    examine(s3)
    client = s3.client()
    assert [item["Key"] for item in client.list_objects_v2(Bucket=s3.bucket)["Contents"]] == [KEY]
    stored = client.get_object(Bucket=s3.bucket, Key=KEY)
    assert json.loads(stored["Body"].read())["site"] == "house 1"
    assert "%E2%98%83" in {name.lower(): value for name, value in stored["Metadata"].items()}["label"]
    client.close()


def test_conditional_puts_are_told_apart(rclone: Target, moto_target: Callable[[], Target], examine: Examine) -> None:
    """rclone ignores the condition, moto honours it."""
    assert examine(rclone)[1]["conditional put"]["seen"].startswith("Not supported")
    assert examine(moto_target())[1]["conditional put"]["seen"].startswith("Supported")


def test_the_text_is_plain_in_a_pipe_and_fits_80_columns(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The last line says what to do next; nothing is left behind in the folders."""
    mirror = mirror_for(frigate, rclone, COLUMNS="80")
    done = mirror.command("doctor")
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "All is well." in done.stdout
    assert_no_secret(mirror, done.stdout)
    assert not (frigate.db_path.parent / ".s3-mirror").exists()


def test_a_running_service_is_fine(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """The doctor says that it is there, and leaves it alone."""
    mirror = mirror_for(frigate, rclone)
    process = mirror.start()
    mirror.wait_for(lambda: len(rclone.objects()) == 3)
    checks = json.loads(mirror.command("doctor", "--json").stdout)["checks"]
    state = next(check for check in checks if check["name"] == "state folder")
    assert (state["verdict"], "running" in state["seen"]) == ("ok", True)
    assert mirror.stop(process) == 0


# -- S3 is wrong -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value"), [("S3_SECRET_KEY", "wrong-secret-wrong-secret"), ("S3_ACCESS_KEY", "nobody-at-all")]
)
def test_wrong_credentials_are_named(rclone: Target, examine: Examine, variable: str, value: str) -> None:
    """The variable that is wrong is the one in the fix; what needs it is skipped. (moto checks no signatures.)"""
    status, checks = examine(rclone, **{variable: value})
    assert (status, failures(checks)) == (1, ["credentials"])
    assert variable in checks["credentials"]["fix"]
    assert checks["put"] == {"name": "put", "verdict": "skipped", "seen": "Needs credentials.", "fix": None}


def test_a_missing_bucket_is_named(s3: Target, examine: Examine) -> None:
    """And is not made."""
    status, checks = examine(s3, S3_BUCKET="no-such-bucket")
    assert (status, failures(checks)) == (1, ["bucket"])
    assert "no-such-bucket" in checks["bucket"]["fix"]
    assert checks["credentials"]["verdict"] == "ok"


def test_a_refused_storage_class_is_told_from_a_missing_permission(
    moto_target: Callable[[], Target], examine: Examine
) -> None:
    """Everything but the class works."""
    status, checks = examine(moto_target(), S3_STORAGE_CLASS="BOGUS")
    assert (status, failures(checks)) == (1, ["storage class"])
    assert "S3_STORAGE_CLASS" in checks["storage class"]["fix"]
    assert checks["put"]["verdict"] == "ok"


def test_another_region_is_worth_a_warning_when_the_server_does_not_mind(
    moto_target: Callable[[], Target], examine: Examine
) -> None:
    status, checks = examine(moto_target(), S3_REGION="eu-west-3")
    assert (status, checks["region"]["verdict"]) == (0, "warning")
    assert checks["region"]["fix"] == "Set S3_REGION=us-east-1."


def test_keys_that_may_only_write_are_enough(examine: Examine) -> None:
    """s3:PutObject under the prefix is all that the mirror needs; the doctor asks for no more. Then even that is taken."""
    with moto_server() as endpoint:
        target = made(Target(endpoint, "testing-key", "testing-secret", "only-put"))
        iam = boto3.client(
            "iam", endpoint_url=endpoint, aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1"
        )
        iam.create_user(UserName="camera")
        statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::only-put/*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="camera", PolicyName="put", PolicyDocument=policy)
        key = iam.create_access_key(UserName="camera")["AccessKey"]
        iam.create_user(UserName="stranger")
        strange = iam.create_access_key(UserName="stranger")["AccessKey"]
        iam.close()
        from_now_on_policies_count = urllib.request.Request(
            f"{endpoint}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(from_now_on_policies_count).close()
        limited = Target(endpoint, key["AccessKeyId"], key["SecretAccessKey"], target.bucket)
        status, checks = examine(limited)
        assert (status, failures(checks)) == (0, [])
        assert "Not allowed, which is fine" in checks["list"]["seen"]
        status, checks = examine(Target(endpoint, strange["AccessKeyId"], strange["SecretAccessKey"], target.bucket))
        assert (status, failures(checks)) == (1, ["put"])
        assert "s3:PutObject on arn:aws:s3:::only-put/frigate/snapshots/*" in checks["put"]["fix"]


# -- the way is wrong --------------------------------------------------------------------------------------------------


def test_an_endpoint_that_refuses_is_named(rclone: Target, examine: Examine) -> None:
    status, checks = examine(rclone, S3_ENDPOINT_URL=f"http://127.0.0.1:{closed_port()}")
    assert (status, failures(checks)) == (1, ["connection"])
    assert checks["DNS"]["verdict"] == "ok"
    assert checks["put"]["seen"] == "Needs connection."


def test_an_unknown_host_is_named(rclone: Target, examine: Examine) -> None:
    """.invalid is reserved to be unknown."""
    status, checks = examine(rclone, S3_ENDPOINT_URL="https://s3.frigate-mirror.invalid")
    assert (status, failures(checks)) == (1, ["DNS"])
    assert "s3.frigate-mirror.invalid" in checks["DNS"]["seen"]
    assert {checks[name]["seen"] for name in ("connection", "TLS", "clock", *S3_CHECKS)} == {"Needs DNS."}


def test_plain_http_behind_https_is_named(rclone: Target, examine: Examine) -> None:
    status, checks = examine(rclone, S3_ENDPOINT_URL=rclone.endpoint_url.replace("http://", "https://"))
    assert (status, failures(checks)) == (1, ["TLS"])
    assert "http://" in checks["TLS"]["fix"]


def test_a_certificate_of_ones_own_needs_the_bundle(rclone: Target, examine: Examine, tmp_path: Path) -> None:
    """Without S3_CA_BUNDLE it is not trusted, with it all is well, with another one it is not."""
    for own in (Certificates.self_signed(tmp_path / "self"), Certificates.signed_by_authority(tmp_path / "signed")):
        other = Certificates.self_signed(tmp_path / f"other-{own.trusted.parent.name}")
        with tls_front(own, rclone.endpoint_url) as endpoint:
            status, checks = examine(rclone, S3_ENDPOINT_URL=endpoint)
            assert (status, failures(checks)) == (1, ["TLS"])
            assert "S3_CA_BUNDLE" in checks["TLS"]["fix"]
            status, checks = examine(rclone, S3_ENDPOINT_URL=endpoint, S3_CA_BUNDLE=str(own.trusted))
            assert (status, failures(checks)) == (0, [])
            assert checks["TLS"]["verdict"] == "ok"
            status, checks = examine(rclone, S3_ENDPOINT_URL=endpoint, S3_CA_BUNDLE=str(other.trusted))
            assert (status, failures(checks)) == (1, ["TLS"])
            assert "wrong authority" in checks["TLS"]["fix"]


def test_odd_certificates_are_told_apart(rclone: Target, examine: Examine, tmp_path: Path) -> None:
    """Soon over: a warning. Over, for another name, or an authority's own: a failure, each with its fix."""
    cases = {
        "soon": (Certificates.self_signed(tmp_path / "soon", days=7), "warning", "Renew"),
        "over": (Certificates.self_signed(tmp_path / "over", days=-1), "failed", "Renew"),
        "name": (Certificates.self_signed(tmp_path / "name", name="elsewhere.example"), "failed", "alternative names"),
        "authority": (Certificates.self_signed(tmp_path / "ca", is_authority=True), "failed", "CA:TRUE"),
    }
    for case, (certificates, verdict, word) in cases.items():
        with tls_front(certificates, rclone.endpoint_url) as endpoint:
            _, checks = examine(rclone, S3_ENDPOINT_URL=endpoint, S3_CA_BUNDLE=str(certificates.trusted))
        assert checks["TLS"]["verdict"] == verdict, (case, checks["TLS"])
        assert word in checks["TLS"]["fix"]
        assert checks["put"]["verdict"] == ("ok" if verdict == "warning" else "skipped")


def test_the_mirror_itself_refuses_an_authoritys_certificate(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """What the doctor says about CA:TRUE is what happens: OpenSSL would take it, the mirror's TLS does not."""
    certificates = Certificates.self_signed(tmp_path / "ca", is_authority=True)
    with tls_front(certificates, rclone.endpoint_url) as endpoint:
        mirror = mirror_for(frigate, rclone, S3_ENDPOINT_URL=endpoint, S3_CA_BUNDLE=str(certificates.trusted))
        done = mirror.command("run", "--once")
    assert done.returncode == 1
    assert "certificate" in done.stdout


# -- this machine is wrong ---------------------------------------------------------------------------------------------


def test_a_missing_database_is_named_and_the_rest_is_checked(rclone: Target, examine: Examine, tmp_path: Path) -> None:
    status, checks = examine(rclone, FRIGATE_DB_PATH=str(tmp_path / "none.db"))
    assert (status, failures(checks)) == (1, ["database"])
    assert "FRIGATE_DB_PATH" in checks["database"]["fix"]
    assert checks["put"]["verdict"] == "ok"


def test_a_database_of_something_else_is_named(rclone: Target, examine: Examine, tmp_path: Path) -> None:
    """Another program's, and no database at all."""
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE recipe (name TEXT)")
    connection.commit()
    connection.close()
    text = tmp_path / "text.db"
    text.write_text("dear diary, " * 100)
    for path in (other, text):
        status, checks = examine(rclone, FRIGATE_DB_PATH=str(path))
        assert (status, failures(checks)) == (1, ["database"])
        assert "database.path" in checks["database"]["fix"]


def test_a_clips_folder_that_is_none_is_named(rclone: Target, examine: Examine, tmp_path: Path) -> None:
    """Missing, and a file in its place."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "file"):
        status, checks = examine(rclone, FRIGATE_CLIPS_DIR=str(path), S3_STATE_DIR=str(tmp_path / "state"))
        assert (status, failures(checks)) == (1, ["clips folder"])
        assert "FRIGATE_CLIPS_DIR" in checks["clips folder"]["fix"]
        assert checks["inotify"]["seen"] == "Needs clips folder."


def test_pictures_that_may_not_be_read_are_named(rclone: Target, examine: Examine, frigate: SimulatedFrigate) -> None:
    for path in frigate.clips_dir.iterdir():
        path.chmod(0)
    status, checks = examine(rclone, WITHOUT_RIGHTS)
    assert (status, failures(checks)) == (1, ["clips folder"])


def test_a_state_folder_that_may_not_be_written_is_named(rclone: Target, examine: Examine, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o500)
    status, checks = examine(rclone, WITHOUT_RIGHTS, S3_STATE_DIR=str(state))
    assert (status, failures(checks)) == (1, ["state folder"])


def test_another_clips_folder_is_a_cross(rclone: Target, examine: Examine, tmp_path: Path) -> None:
    """Empty as a mount point is: the service would not trust it either, and says so in the same words."""
    (tmp_path / "clips").mkdir()
    status, checks = examine(rclone, FRIGATE_CLIPS_DIR=str(tmp_path / "clips"))
    assert (status, checks["clips folder"]["verdict"]) == (1, "failed")
    assert checks["clips folder"]["seen"].endswith("is empty; is its share mounted?")


@pytest.mark.parametrize(
    ("more", "seen"),
    [
        ({"S3_CAMERAS": "gardn"}, "S3_CAMERAS lets none of Frigate's cameras through: yard."),
        ({"S3_CAMERAS": "!yard"}, "S3_CAMERAS lets none of Frigate's cameras through: yard."),
        ({"S3_LABELS": "persn"}, "S3_LABELS lets none of Frigate's labels through: person."),
    ],
)
def test_filters_that_let_nothing_through_are_a_failure(
    rclone: Target, examine: Examine, more: dict[str, str], seen: str
) -> None:
    status, checks = examine(rclone, **more)
    assert (status, checks["database"]["verdict"]) == (1, "failed")
    assert seen in checks["database"]["seen"]
    assert "S3_CAMERAS" in checks["database"]["fix"]


def test_a_state_folder_that_is_a_file_is_named(rclone: Target, examine: Examine, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    status, checks = examine(rclone, S3_STATE_DIR=str(tmp_path / "state"))
    assert (status, failures(checks)) == (1, ["state folder"])
    assert checks["text state"]["verdict"] == "warning"
    assert "S3_STATE_DIR" in checks["state folder"]["fix"]


def test_wrong_settings_are_all_told_and_the_folders_checked(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Exit status 78, a line for each problem, S3 is left alone."""
    mirror = mirror_for(frigate, rclone, S3_BUCKET="", S3_UPLOAD_THREADS="many", S3_REGON="typo")
    done = mirror.command("doctor", "--json")
    assert done.returncode == 78
    checks = json.loads(done.stdout)["checks"]
    told = [check["seen"] for check in checks if check["name"] == "settings" and check["verdict"] == "failed"]
    assert len(told) == 2
    assert any("S3_BUCKET" in text for text in told)
    assert any("S3_UPLOAD_THREADS" in text for text in told)
    by_name = {check["name"]: check["verdict"] for check in checks}
    assert (by_name["database"], by_name["clips folder"], by_name["put"]) == ("ok", "ok", "skipped")
    assert_no_secret(mirror, done.stdout + done.stderr)


def test_an_unknown_variable_is_worth_a_warning(rclone: Target, examine: Examine) -> None:
    status, checks = examine(rclone, S3_REGON="eu-west-1")
    assert (status, checks["settings"]["verdict"]) == (0, "warning")
    assert "S3_REGION" in checks["settings"]["seen"]
