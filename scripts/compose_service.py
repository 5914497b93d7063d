"""Frigate's service in a compose file: which one it is, what it mounts and sets, and what the user has yet to fill in.

It only reads; standard library only, Python 3.7.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Iterable

import compose_file
from compose_yaml import NULL, Entry, Node, Scalar, YamlError, meaning, parse

MOUNT = "./s3-mirror:/opt/s3-mirror:ro"
TARGET = "/opt/s3-mirror"
PATCH = "/opt/s3-mirror/patch"
COMMENTED = (
    ("S3_BUCKET", "your-bucket-name"),
    ("S3_ACCESS_KEY", "your-access-key-id"),
    ("S3_SECRET_KEY", "your-secret-access-key"),
    ("S3_REGION", "us-east-1"),
    ("S3_ENDPOINT_URL", "https://minio.example.com:9000"),
)
"""What the user fills in, with the values that are only examples."""


class ComposeError(Exception):
    """The file cannot be used as it is; the text is a sentence for the user."""


def read(text: str) -> Node:
    """Return the file's mapping. Raises ComposeError."""
    try:
        root = parse(text)
        meaning(root)
    except YamlError as error:
        raise ComposeError(str(error)) from error
    return root


def services(root: Node) -> list[Entry]:
    """Return the entries of `services`. Raises ComposeError."""
    found = root.get("services") if root.kind == "mapping" else None
    if found is None or found.kind != "mapping":
        other = (
            "; the files under 'include' are not looked into, name one with --compose" if root.get("include") else ""
        )
        raise ComposeError(f"it has no 'services:'{other}")
    return [entry for entry in found.entries if not entry.is_merge]


def frigate_service(root: Node, wanted: str | None) -> Entry:
    """Return the service of this name, or the one whose image is a Frigate. Raises ComposeError."""
    found = services(root)
    names = ", ".join(entry.name for entry in found) or "none"
    if wanted is not None:
        service = next((entry for entry in found if entry.name == wanted), None)
        if service is None:
            raise ComposeError(f"it has no service '{wanted}'; there are {names}")
        return service
    candidates = [entry for entry in found if is_frigate(image_of(entry))]
    if len(candidates) != 1:
        names = ", ".join(entry.name for entry in candidates) or names
        raise ComposeError(f"which service is Frigate? Name it with --service; there are {names}")
    return candidates[0]


def is_frigate(image: str) -> bool:
    """Whether the last part of the image's repository is `frigate`, in whatever registry."""
    return re.split("[@:]", image.rsplit("/", 1)[-1])[0] == "frigate"


def values(service: Entry) -> dict[str, Any]:
    """Return the service's keys as compose reads them, merged ones included."""
    found = meaning(service.value)
    return found if isinstance(found, dict) else {}


def image_of(service: Entry) -> str:
    """Return the service's image, variables replaced by their defaults, or an empty string."""
    image = values(service).get("image", NULL)
    text = image.text if isinstance(image, Scalar) else ""
    text = re.sub(r"\$\{\w+:?-([^{}$]*)\}", r"\1", text)
    return text if is_frigate(text) or "$" not in text else ""


def environment_of(value: Any) -> dict[str, str | None]:
    """Return the variables of an `environment` in either of its forms; None where the host's value is taken."""
    if isinstance(value, dict):
        return {name: None if item == NULL else getattr(item, "text", None) for name, item in value.items()}
    pairs = [item.text.partition("=") for item in value if isinstance(item, Scalar)] if isinstance(value, list) else []
    return {name: text if is_given else None for name, is_given, text in pairs}


def mounts_of(value: Any) -> list[tuple[str, str]]:
    """Return source and target of each of the `volumes`, in either of their forms."""
    found = []
    for item in value if isinstance(value, list) else []:
        if isinstance(item, dict):
            source, target = (getattr(item.get(name), "text", "") for name in ("source", "target"))
        else:
            parts = getattr(item, "text", "").split(":")
            source, target = parts[0], parts[1] if len(parts) > 1 else parts[0]
        found.append((source, target.rstrip("/")))
    return found


def starts_itself(service: dict[str, Any]) -> bool:
    """Whether the mirror's own entrypoint is set, which needs no PYTHONPATH."""
    entrypoint = service.get("entrypoint", [])
    words = entrypoint if isinstance(entrypoint, list) else [entrypoint]
    return any("s3-mirror" in getattr(word, "text", "") for word in words)


def is_set(name: str, environment: Iterable[str]) -> bool:
    """Whether this variable is there by its exact name, or the one that names a file with its value."""
    return name in environment or f"{name}_FILE" in environment


# -- what is to be filled in -----------------------------------------------------------------------------------------


def mount(text: str, wanted: str | None, target: str) -> str:
    """Return the host's folder that is mounted at the target. Raises ComposeError."""
    for source, place in mounts_of(values(frigate_service(read(text), wanted)).get("volumes")):
        if place == target and source[:1] in {"/", "."}:
            return source
    raise ComposeError(f"nothing of the host is mounted at {target}")


def unfilled(environment: dict[str, str | None], mounts: Iterable[str], *, has_entrypoint: bool) -> list[str]:
    """Return a sentence for each thing that is missing before the settings can be tested."""
    found = []
    if TARGET not in mounts:
        found.append(f"The volume {MOUNT} is missing: run ./setup_s3_mirror.sh --apply")
    if not has_entrypoint and PATCH not in (environment.get("PYTHONPATH") or "").split(":"):
        found.append(f"PYTHONPATH={PATCH} is missing: run ./setup_s3_mirror.sh --apply")
    is_filled = {
        name: bool((environment.get(name) or environment.get(f"{name}_FILE") or "").strip()) for name, _ in COMMENTED
    }
    if not is_filled[
        "S3_BUCKET"
    ]:  # with a bucket the doctor judges the keys: on AWS the machine's role may stand for them
        needed = [name for name in ("S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY") if not is_filled[name]]
        found += [f"{name} is not filled in: set it under 'environment:', without a '#' before it" for name in needed]
    for name, placeholder in COMMENTED:
        if name != "S3_REGION" and (environment.get(name) or "").strip("\"' ") == placeholder:
            found.append(f"{name} still holds the example '{placeholder}': write your own value there")
    return found


def seen_by_docker(view: dict[str, Any], service: str) -> list[str]:
    """Return what is missing, from the answer of `docker compose config`."""
    found = view.get("services", {}).get(service) or {}
    targets = [
        str(volume.get("target", "")).rstrip("/") for volume in found.get("volumes") or [] if isinstance(volume, dict)
    ]
    return unfilled(found.get("environment") or {}, targets, has_entrypoint="s3-mirror" in str(found.get("entrypoint")))


def seen_in_files(files: list[Path], service: str) -> list[str]:
    """Return what is missing, from the files themselves: each next one adds to those before, as compose does it."""
    environment: dict[str, str | None] = {}
    targets: list[str] = []
    has_entrypoint = False
    host = compose_file.host_variables(files[0].parent)
    for file in files:
        found = next(
            (values(entry) for entry in services(read(compose_file.text_of(file))) if entry.name == service), {}
        )
        for path in env_files(found):
            environment.update(compose_file.variables_of(files[0].parent / compose_file.interpolated(path, host)))
        environment.update(environment_of(found.get("environment")))
        targets += [target for _, target in mounts_of(found.get("volumes"))]
        has_entrypoint = has_entrypoint or starts_itself(found)
    filled = {
        name: host.get(name) if value is None else compose_file.interpolated(value, host)
        for name, value in environment.items()
    }
    return unfilled(filled, targets, has_entrypoint=has_entrypoint)


def env_files(service: dict[str, Any]) -> list[str]:
    """Return the paths under `env_file`, in each of its forms."""
    found = service.get("env_file", [])
    items = found if isinstance(found, list) else [found]
    return [getattr(item.get("path") if isinstance(item, dict) else item, "text", "") for item in items]


def variables_from_files(text: str, wanted: str | None, folder: Path) -> set[str]:
    """Return the names that the service has from its `env_file`, as far as these can be read."""
    paths = env_files(values(frigate_service(read(text), wanted)))
    return {name for path in paths for name in compose_file.variables_of(folder / path)}
