"""Reads and writes a bucket's lifecycle configuration."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from frigate_s3_mirror.policies import RULE_ID
from frigate_s3_mirror.settings import Settings
from frigate_s3_mirror.signed_requests import SignedRequestError, SignedRequests, said, text_of

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_QUERY = {"lifecycle": ""}


class LifecycleError(Exception):
    """The configuration cannot be read or written; the text is a sentence for the user."""


class LifecycleClient:
    """One bucket's configuration. Every method raises LifecycleError."""

    def __init__(self, settings: Settings) -> None:
        try:
            self._requests = SignedRequests(settings)
        except SignedRequestError as error:
            raise LifecycleError(
                "--apply needs S3_ACCESS_KEY and S3_SECRET_KEY; with a role, give the printed rules to "
                "'aws s3api put-bucket-lifecycle-configuration'."
            ) from error

    def foreign_rules(self) -> list[ET.Element]:
        """The rules that are there and are not ours."""
        status, body = self._ask("GET", b"")
        if status == 404:
            return []
        if status != 200:
            raise LifecycleError(f"The bucket's rules cannot be read: {said(status, body)}.")
        try:
            root = ET.fromstring(body)  # noqa: S314  # the user's own server
        except ET.ParseError as error:
            raise LifecycleError("The bucket's rules cannot be read: what answers is not S3.") from error
        rules = [rule for rule in root if rule.tag.endswith("Rule")]
        return [rule for rule in rules if not _is_ours(text_of(rule, "ID") or "")]

    def write(self, rules: Sequence[Mapping[str, Any]], others: list[ET.Element]) -> None:
        """Replace the configuration by these others and our rules."""
        root = ET.Element("LifecycleConfiguration", xmlns=_NAMESPACE)
        root.extend(_plain(other) for other in others)
        root.extend(_element("Rule", rule) for rule in rules)
        status, body = self._ask("PUT", ET.tostring(root, encoding="utf-8"))
        if status not in {200, 204}:
            raise LifecycleError(f"The rules were refused: {said(status, body)}.")

    def _ask(self, method: str, body: bytes) -> tuple[int, bytes]:
        try:
            return self._requests.ask(method, _QUERY, body)
        except SignedRequestError as error:
            raise LifecycleError(str(error)) from error


def _is_ours(name: str) -> bool:
    return name == RULE_ID or name.startswith(f"{RULE_ID}-")


def _element(name: str, value: object) -> ET.Element:
    element = ET.Element(name)
    if isinstance(value, Mapping):
        for child, content in value.items():
            element.append(_element(child, content))
    else:
        element.text = str(value)
    return element


def _plain(element: ET.Element) -> ET.Element:
    """The element without its namespace, which the root declares."""
    copy = ET.Element(element.tag.rpartition("}")[2])
    copy.text = element.text
    copy.extend(_plain(child) for child in element)
    return copy
