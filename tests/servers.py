"""Independent real S3 servers, as child processes on loopback: rclone's, moto's and SeaweedFS."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@dataclass(frozen=True)
class Target:
    """One bucket on one server."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str

    def environment(self) -> dict[str, str]:
        """The variables that point the mirror here."""
        return {
            "S3_ENDPOINT_URL": self.endpoint_url,
            "S3_ACCESS_KEY": self.access_key,
            "S3_SECRET_KEY": self.secret_key,
            "S3_BUCKET": self.bucket,
        }

    def client(self) -> S3Client:
        """A client that is not ours, to look at the bucket with."""
        client: S3Client = boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 5}),
        )
        return client

    def objects(self) -> dict[str, bytes]:
        """Everything in the bucket but heartbeats, by key."""
        client = self.client()
        try:
            found: dict[str, bytes] = {}
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
                for item in page.get("Contents", []):
                    if "/.mirror/" not in f"/{item['Key']}":
                        found[item["Key"]] = client.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
            return found
        finally:
            client.close()


@contextmanager
def rclone_server(root: Path) -> Iterator[EmbeddedS3]:
    """rclone's S3 server over a folder; it checks signatures."""
    with EmbeddedS3(root, bucket="first") as server:
        yield server


@contextmanager
def moto_server() -> Iterator[str]:
    """moto's S3 server; yields its endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        yield endpoint
    finally:
        process.terminate()
        process.wait(10)


WRITER = ("weed-writer-key", "weed-writer-secret")
"""A key that may only write."""


@contextmanager
def seaweedfs_server(root: Path) -> Iterator[Target]:
    """SeaweedFS with all its parts in one process; yields a bucket with Object Lock and a default retention."""
    admin = ("weed-admin-key", "weed-admin-secret")
    identities = [
        {"name": "admin", "credentials": [dict(zip(("accessKey", "secretKey"), admin, strict=True))], "actions": ["Admin"]},
        {"name": "writer", "credentials": [dict(zip(("accessKey", "secretKey"), WRITER, strict=True))], "actions": ["Write"]},
    ]  # fmt: skip
    config = root / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    s3, master, volume, filer = _free_pairs(4)
    command = [
        str(Path(sys.executable).with_name("weed")), "server", f"-dir={root}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3",
        f"-s3.port={s3}", f"-s3.config={config}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        "-volume.max=20", "-master.volumeSizeLimitMB=64",
    ]  # fmt: skip
    with (root / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        target = Target(f"http://127.0.0.1:{s3}", *admin, "locked")
        _make_locked(target)
        yield target
    finally:
        process.kill()
        process.wait(10)


def _free_pairs(count: int) -> list[int]:
    """Ports that are free with those 10,000 above them, where SeaweedFS has its gRPC."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port = low.getsockname()[1]
            try:
                high.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            found.append(port)
    return found


def _make_locked(target: Target) -> None:
    """The bucket, as soon as the server makes buckets and takes objects."""
    client = target.client()
    deadline = time.monotonic() + 90
    steps: list[Callable[[], object]] = [
        lambda: client.create_bucket(Bucket=target.bucket, ObjectLockEnabledForBucket=True),
        lambda: client.put_object_lock_configuration(
            Bucket=target.bucket,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
            },
        ),
        lambda: client.put_object(Bucket=target.bucket, Key="first", Body=b"first"),
    ]  # fmt: skip
    for step in steps:
        while True:
            try:
                step()
                break
            except (BotoCoreError, ClientError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)
    client.close()
