"""Where requests about the bucket go: scheme, host and the path before the key."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from frigate_s3_mirror.providers import aws_endpoint
from frigate_s3_mirror.settings import Settings


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The bucket's address."""

    base: SplitResult
    """Scheme and host; with virtual hosts, the bucket is part of the host."""
    folder: str
    """What a server at a path of its own wants before all else, without a slash at the end."""
    bucket_in_path: str

    @property
    def root(self) -> str:
        """The path of the bucket itself, encoded as it is sent."""
        return f"{self.folder}{self.bucket_in_path}" or "/"

    @property
    def url(self) -> str:
        """The endpoint as obstore wants it, to which it adds the bucket unless that is in the host."""
        return f"{self.base.scheme}://{self.base.netloc}{self.folder}"

    def path_of(self, key: str) -> str:
        """The path of an object, encoded as it is sent."""
        return f"{self.folder}{self.bucket_in_path}/{quote(key, safe='/-_.~')}"


def endpoint_of(settings: Settings) -> Endpoint:
    """Return where the bucket of these settings is."""
    url = urlsplit(settings.endpoint_url or aws_endpoint(settings.region))
    host, folder = url.netloc.rpartition("@")[2], quote(url.path.rstrip("/"), safe="/-_.~%")
    if not settings.virtual_host:
        return Endpoint(_base(url.scheme, host), folder, f"/{quote(settings.bucket)}")
    if not host.startswith(f"{settings.bucket}."):
        host = f"{settings.bucket}.{host}"
    return Endpoint(_base(url.scheme, host), folder, "")


def _base(scheme: str, host: str) -> SplitResult:
    return SplitResult(scheme, host, "", "", "")
