"""Documents for the bucket's owner: the least permissions, and the rule that lets the bucket forget."""

from __future__ import annotations

from typing import Any

from frigate_s3_mirror.providers import partition_of
from frigate_s3_mirror.settings import Settings

RULE_ID = "frigate-s3-mirror"
TAG = "frigate"
"""Name of the tag that tells the bucket's rules what a snapshot is not: `live` or `clip`."""


def tags(name: str, settings: Settings) -> dict[str, str]:
    """The tags of a "live" picture or a part of a "clip": none unless the bucket shall forget them by a rule of their own."""
    wanted = {"live": settings.live_retention_days, "clip": settings.clip_retention_days}
    return {TAG: name} if wanted.get(name) is not None else {}


def iam_policy(
    settings: Settings, *, verify: bool = False, restore: bool = False, lifecycle: bool = False
) -> dict[str, Any]:
    """The least policy for uploads, and for the commands that are asked for.

    Actions: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
    """
    bucket = f"arn:{partition_of(settings.region).name}:s3:::{settings.bucket}"
    prefix = f"{settings.path_prefix}/" if settings.path_prefix else ""
    objects = ["s3:PutObject", "s3:AbortMultipartUpload"]
    if verify or restore:
        objects.append("s3:GetObject")
    if settings.live and settings.live_keep != "all":
        objects.append("s3:DeleteObject")
    if (settings.live and tags("live", settings)) or (settings.has_clips and tags("clip", settings)):
        objects.append("s3:PutObjectTagging")
    statements: list[dict[str, Any]] = [_statement("Objects", objects, f"{bucket}/{prefix}*")]
    if verify or restore:
        listing = _statement("Listing", ["s3:ListBucket"], bucket)
        if prefix:
            listing["Condition"] = {"StringLike": {"s3:prefix": [prefix, f"{prefix}*"]}}
        statements.append(listing)
    if settings.has_clips:
        # Without it, what a kill leaves of a large segment's upload stays until the lifecycle rule aborts it.
        statements.append(_statement("Abandoned", ["s3:ListBucketMultipartUploads"], bucket))
    if lifecycle:
        actions = ["s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"]
        statements.append(_statement("Lifecycle", actions, bucket))
    if settings.sse_kms_key_id:
        actions = ["kms:GenerateDataKey", "kms:Decrypt"]  # a multipart upload needs the second, too
        statements.append(_statement("Key", actions, settings.sse_kms_key_id))
    return {"Version": "2012-10-17", "Statement": statements}


def lifecycle_rules(settings: Settings) -> list[dict[str, Any]]:
    """The rules in the JSON that `aws s3api put-bucket-lifecycle-configuration` takes.

    Where several fit an object, S3 takes the shortest. Raises ValueError with a sentence when there is none to make.
    """
    prefix = f"{settings.path_prefix}/" if settings.path_prefix else ""
    rules = []
    if settings.retention_days is not None or settings.has_clips:
        rule = _rule(RULE_ID, {"Prefix": prefix}, settings.retention_days)
        rules.append(rule | {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}})  # not allowed beside a tag
    for name, days in (("live", settings.live_retention_days), ("clip", settings.clip_retention_days)):
        if days is not None:
            tagged = {"And": {"Prefix": prefix, "Tag": {"Key": TAG, "Value": name}}}
            rules.append(_rule(f"{RULE_ID}-{name}", tagged, days))
    if not rules:
        raise ValueError(
            "S3_RETENTION_DAYS is not set; it says after how many days the bucket deletes snapshots "
            "(S3_LIVE_RETENTION_DAYS and S3_CLIP_RETENTION_DAYS: live pictures and clips)."
        )
    return rules


def _rule(name: str, which: dict[str, Any], days: int | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"ID": name, "Status": "Enabled", "Filter": which}
    if days is not None:
        rule |= {"Expiration": {"Days": days}, "NoncurrentVersionExpiration": {"NoncurrentDays": days}}
    return rule


def _statement(name: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {"Sid": f"FrigateS3Mirror{name}", "Effect": "Allow", "Action": actions, "Resource": resource}
