"""The hard cases, against the S3 gateway of a real Ceph: put-only keys, Object Lock, refusals, lifecycle, a wrong clock."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from ceph.gateway import CephGateway, User, missing
from conftest import MakeMirror, ended, started
from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import PREFIX, conserved, drained
from recording_proxy import Fault, FaultKind, RecordingProxy
from servers import Target

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"no Ceph here: {missing()}")
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
_numbers = itertools.count()


@dataclass
class Ceph:
    """The gateway, its owner and a user that only gets what a bucket's policy gives it."""

    gateway: CephGateway
    owner: User
    putter: User

    def bucket(self, *, lock: bool = False) -> Target:
        """A fresh bucket of the owner's; with Object Lock, every version is kept for a day."""
        name = f"bucket-{next(_numbers)}"
        target = Target(self.gateway.endpoint_url, self.owner.access_key, self.owner.secret_key, name)
        client = target.client()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
        if lock:
            retention = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
            client.put_object_lock_configuration(
                Bucket=name,
                ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention},  # type: ignore[typeddict-item]
            )
        client.close()
        return target

    def put_only(self, target: Target) -> Target:
        """The same bucket with a key that may put under the prefix and nothing else."""
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow", "Principal": {"AWS": [f"arn:aws:iam:::user/{self.putter.name}"]},
                    "Action": ["s3:PutObject"], "Resource": [f"arn:aws:s3:::{target.bucket}/{PREFIX}/*"],
                },
                {  # what another user put belongs to that user: the bucket's owner wants to read it, too
                    "Effect": "Allow", "Principal": {"AWS": [f"arn:aws:iam:::user/{self.owner.name}"]},
                    "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{target.bucket}/*"],
                },
            ],
        }  # fmt: skip
        client = target.client()
        client.put_bucket_policy(Bucket=target.bucket, Policy=json.dumps(policy))
        client.close()
        return replace(target, access_key=self.putter.access_key, secret_key=self.putter.secret_key)


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    with CephGateway(tmp_path_factory.mktemp("ceph")) as gateway:
        yield Ceph(gateway, gateway.user("owner"), gateway.user("putter"))


def test_a_put_only_key_is_enough(ceph: Ceph, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """The mirror and the doctor are content; verify says which permission it lacks."""
    target = ceph.bucket()
    mirror = mirror_for(frigate, ceph.put_only(target))
    mirror.start()
    events = ended(frigate, 5)
    mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 5)
    drained(mirror)
    conserved(target, events)
    doctor = mirror.command("doctor")
    assert doctor.returncode == 0, doctor.stdout
    verify = mirror.command("verify")
    assert verify.returncode == 2
    assert "iam-policy --with-verify" in verify.stderr
    mirror.environment["S3_PATH_PREFIX"] = "elsewhere"
    assert "One check failed: put" in " ".join(mirror.command("doctor").stdout.split())


def test_object_lock_keeps_what_was_sent(ceph: Ceph, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Default retention: every snapshot arrives, and nobody deletes a version."""
    target = ceph.bucket(lock=True)
    mirror = mirror_for(frigate, ceph.put_only(target))
    events = ended(frigate, 4)
    done = mirror.command("run", "--once")
    assert done.returncode == 0, done.stdout
    conserved(target, events)
    client = target.client()
    (version, *_) = client.list_object_versions(Bucket=target.bucket, Prefix=PREFIX)["Versions"]
    with pytest.raises(ClientError, match=r"AccessDenied|forbidden|Forbidden"):
        client.delete_object(Bucket=target.bucket, Key=version["Key"], VersionId=version["VersionId"])
    client.close()


def test_a_lost_answer_makes_no_second_object(ceph: Ceph, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Stored, and the connection cut: conditional create finds it, with a key that may not read, too.

    In a versioned bucket Ceph 16 ignores the condition (seen), and the same content becomes a second version.
    """
    target = ceph.bucket()
    with RecordingProxy(target.endpoint_url) as proxy:
        mirror = mirror_for(frigate, replace(ceph.put_only(target), endpoint_url=proxy.endpoint_url))
        started(mirror)
        proxy.inject(Fault(FaultKind.RESET_AFTER, 3, path_part="/20"))
        events = ended(frigate, 6)
        mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 6)
        drained(mirror)
        stored = {path: count for path, count in proxy.stored().items() if "/.mirror/" not in path}
    conserved(target, events)
    assert list(stored.values()) == [1] * 6


def test_another_object_is_not_overwritten(ceph: Ceph, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Ceph honours If-None-Match."""
    target = ceph.bucket()
    event = ended(frigate, 1)[0]
    client = target.client()
    client.put_object(Bucket=target.bucket, Key=expected_key(event, PREFIX), Body=b"somebody else's")
    client.close()
    done = mirror_for(frigate, target, S3_MAX_FAILED_RETRIES="1").command("run", "--once")
    assert done.returncode == 1
    assert "is left alone" in done.stdout
    assert target.objects()[expected_key(event, PREFIX)] == b"somebody else's"


def test_a_storage_class_that_it_lacks_is_explained(
    ceph: Ceph, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """STANDARD_IA is refused: nothing counts against the event, and the sentence names the variable."""
    target = ceph.bucket()
    events = ended(frigate, 2)
    mirror = mirror_for(frigate, target, S3_STORAGE_CLASS="STANDARD_IA")
    done = mirror.command("run", "--once")
    assert done.returncode == 1
    assert "check S3_STORAGE_CLASS" in done.stdout
    mirror.environment.pop("S3_STORAGE_CLASS")
    assert mirror.command("run", "--once").returncode == 0
    conserved(target, events)


def test_lifecycle_rules_are_taken(ceph: Ceph, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """The rule is read back."""
    target = ceph.bucket()
    done = mirror_for(frigate, target, S3_RETENTION_DAYS="30").command("lifecycle", "--apply")
    assert done.returncode == 0, done.stderr
    client = target.client()
    (rule,) = client.get_bucket_lifecycle_configuration(Bucket=target.bucket)["Rules"]
    client.close()
    assert (rule["ID"], rule["Expiration"]["Days"]) == ("frigate-s3-mirror", 30)


@pytest.mark.skipif(not FAKETIME.exists(), reason="Debian's faketime is not installed")
def test_a_wrong_clock_is_told_and_costs_nothing(ceph: Ceph, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """An hour ahead: S3 refuses, the sentence names the clock; with the right time all is sent."""
    target = ceph.bucket()
    events = ended(frigate, 3)
    mirror = mirror_for(frigate, target)
    mirror.environment |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+1h"}
    mirror.start()
    mirror.wait_for(lambda: "the clock of this machine is wrong" in mirror.log())
    for name in ("LD_PRELOAD", "FAKETIME"):
        del mirror.environment[name]
    counts = json.loads(mirror.command("status", "--json").stdout)["counts"]
    assert (counts["pending"], counts["failed"]) == (3, 0)
    mirror.processes[-1].kill()
    mirror.processes[-1].wait()
    assert mirror.command("run", "--once").returncode == 0
    conserved(target, events)


def test_verify_restore_and_rebuild(
    ceph: Ceph, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """With a key that may list and read."""
    target = ceph.bucket()
    mirror = mirror_for(frigate, target)
    events = ended(frigate, 5)
    assert mirror.command("run", "--once").returncode == 0
    assert mirror.command("verify", "--deep").returncode == 0
    assert "5 restored" in mirror.command("restore", "--to", str(tmp_path / "restored")).stdout
    mirror.environment["S3_STATE_DIR"] = str(tmp_path / "new")
    assert "5 objects of the bucket are new" in mirror.command("rebuild").stdout
    conserved(target, events)
