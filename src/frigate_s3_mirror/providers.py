"""What differs between S3 servers, in one small table; everything else is sent alike to all of them.

Sources: each provider's S3 compatibility page, and what the servers that we run in our tests answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch


@dataclass(frozen=True, slots=True)
class Provider:
    """How one kind of S3 server wants its requests."""

    name: str
    hosts: tuple[str, ...] = ()
    """Endpoint host names (globs) that give the provider away."""
    storage_class: str | None = None
    """The class sent when the user set none; None sends no header, because most servers refuse a class they lack."""
    virtual_host: bool = False
    """Bucket in the host name (true) or in the path (false)."""
    sha256_checksum: bool = False
    """Send `x-amz-checksum-sha256`. The signature covers the body anyhow; Backblaze and others refuse the header."""
    conditional_put: bool | None = None
    """Whether `If-None-Match: *` is honoured on PUT; None: not known, so it is tried, and left out once refused."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of AWS with accounts, hosts and ARNs of its own."""

    name: str
    """As ARNs begin: `arn:<name>:`."""
    domain: str


_PARTITIONS = (
    ("cn-", Partition("aws-cn", "amazonaws.com.cn")),
    ("us-gov-", Partition("aws-us-gov", "amazonaws.com")),
    ("eusc-", Partition("aws-eusc", "amazonaws.eu")),
    ("us-iso-", Partition("aws-iso", "c2s.ic.gov")),
    ("us-isob-", Partition("aws-iso-b", "sc2s.sgov.gov")),
    ("eu-isoe-", Partition("aws-iso-e", "cloud.adc-e.uk")),
    ("us-isof-", Partition("aws-iso-f", "csp.hci.ic.gov")),
)
"""What regions begin with. https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html"""


def partition_of(region: str) -> Partition:
    """Return the part of AWS in which this region is."""
    return next(
        (found for prefix, found in _PARTITIONS if region.startswith(prefix)), Partition("aws", "amazonaws.com")
    )


def aws_endpoint(region: str) -> str:
    """Return the address of AWS's S3 in this region."""
    return f"https://s3.{region}.{partition_of(region).domain}"


AWS = Provider("aws", ("*.amazonaws.com", "*.amazonaws.com.cn", "*.amazonaws.eu"), "STANDARD_IA", True, True, True)
OTHER = Provider("other")
PROVIDERS = (
    AWS,
    Provider("r2", ("*.r2.cloudflarestorage.com",), conditional_put=True),
    Provider("b2", ("*.backblazeb2.com",), conditional_put=False),
    Provider("wasabi", ("*.wasabisys.com",)),
    Provider("gcs", ("storage.googleapis.com",), conditional_put=False),
    Provider("hetzner", ("*.your-objectstorage.com",)),
    Provider("digitalocean", ("*.digitaloceanspaces.com",)),
    Provider("scaleway", ("*.scw.cloud",)),
    Provider("minio", conditional_put=True),
    Provider("ceph", conditional_put=True),
    Provider("garage"),
    OTHER,
)
NAMES = tuple(provider.name for provider in PROVIDERS)


def provider_for(endpoint_host: str | None, name: str | None = None) -> Provider:
    """The preset with this name, else the one whose host pattern fits; no endpoint at all means AWS."""
    if name is not None:
        return next(provider for provider in PROVIDERS if provider.name == name)
    if endpoint_host is None:
        return AWS
    host = endpoint_host.lower()
    return next((p for p in PROVIDERS if any(fnmatch(host, pattern) for pattern in p.hosts)), OTHER)
