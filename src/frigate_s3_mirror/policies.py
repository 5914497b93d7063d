"""Documents for the bucket's owner: the least permissions, and the rule that lets the bucket forget."""

from __future__ import annotations

from typing import Any

from frigate_s3_mirror.settings import Settings

RULE_ID = "frigate-s3-mirror"


def iam_policy(
    settings: Settings, *, verify: bool = False, restore: bool = False, lifecycle: bool = False
) -> dict[str, Any]:
    """The least policy for uploads, and for the commands that are asked for.

    Actions: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
    """
    bucket = f"arn:{_partition(settings.region)}:s3:::{settings.bucket}"
    prefix = f"{settings.path_prefix}/" if settings.path_prefix else ""
    objects = ["s3:PutObject", "s3:AbortMultipartUpload"]
    if verify or restore:
        objects.append("s3:GetObject")
    if settings.live and settings.live_keep != "all":
        objects.append("s3:DeleteObject")
    statements: list[dict[str, Any]] = [_statement("Objects", objects, f"{bucket}/{prefix}*")]
    if verify or restore:
        listing = _statement("Listing", ["s3:ListBucket"], bucket)
        if prefix:
            listing["Condition"] = {"StringLike": {"s3:prefix": [prefix, f"{prefix}*"]}}
        statements.append(listing)
    if lifecycle:
        actions = ["s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"]
        statements.append(_statement("Lifecycle", actions, bucket))
    if settings.sse_kms_key_id:
        actions = ["kms:GenerateDataKey", "kms:Decrypt"]  # a multipart upload needs the second, too
        statements.append(_statement("Key", actions, settings.sse_kms_key_id))
    return {"Version": "2012-10-17", "Statement": statements}


def lifecycle_rule(settings: Settings) -> dict[str, Any]:
    """The rule in the JSON that `aws s3api put-bucket-lifecycle-configuration` takes.

    Raises ValueError with a sentence when S3_RETENTION_DAYS is not set.
    """
    if settings.retention_days is None:
        raise ValueError("S3_RETENTION_DAYS is not set; it says after how many days the bucket deletes snapshots.")
    prefix = f"{settings.path_prefix}/" if settings.path_prefix else ""
    return {
        "ID": RULE_ID,
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "Expiration": {"Days": settings.retention_days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": settings.retention_days},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
    }


def _statement(name: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {"Sid": f"FrigateS3Mirror{name}", "Effect": "Allow", "Action": actions, "Resource": resource}


def _partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
