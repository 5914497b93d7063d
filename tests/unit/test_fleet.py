"""What a heartbeat means to those who read it later."""

from __future__ import annotations

import json

import pytest

from frigate_s3_mirror.fleet import SILENT, UNREADABLE, judge, silent_first

NOW = 1_000_000.0


def heartbeat(site: str = "a", **more: object) -> bytes:
    content = {"site": site, "version": "1", "at": NOW - 5, "interval": 300, "health": "OK", "reason": ""}
    return json.dumps({**content, **more}).encode()


@pytest.mark.parametrize(
    ("age", "interval", "state"),
    [(0, 300, "OK"), (659, 300, "OK"), (661, 300, SILENT), (71, 5, SILENT), (69, 5, "OK"), (-3600, 300, "OK")],
)
def test_two_missed_heartbeats_are_silence(age: float, interval: float, state: str) -> None:
    """And a minute of grace; a clock that is ahead is no silence."""
    assert judge("k", heartbeat(at=NOW - age, interval=interval), NOW).state == state


def test_the_health_is_what_the_site_said() -> None:
    """With its reason; a silent one's is its last words."""
    assert judge("k", heartbeat(health="DEGRADED", reason="No bucket."), NOW).reason == "No bucket."
    silent = judge("k", heartbeat(health="DEGRADED", reason="No bucket.", at=0), NOW)
    assert (silent.state, silent.reason) == (SILENT, "Its last words: DEGRADED. No bucket.")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b'{"site": "a", "version": "1"}',
        heartbeat(at="x"),
        heartbeat(health="FINE"),
    ],
)
def test_what_is_no_heartbeat_is_told(content: bytes) -> None:
    """Damaged or foreign objects are a line of their own, never an error."""
    assert judge("k", content, NOW).state == UNREADABLE


def test_a_newer_version_s_heartbeat_is_understood() -> None:
    """Fields that are not known yet are passed over."""
    assert judge("k", heartbeat(news={"a": 1}), NOW).state == "OK"


def test_the_silent_ones_come_first() -> None:
    """Then what is down, degraded, well; among the silent the longest first."""
    sites = [
        judge("ok", heartbeat(), NOW),
        judge("down", heartbeat(health="DOWN"), NOW),
        judge("late", heartbeat(at=5), NOW),
        judge("broken", b"", NOW),
        judge("degraded", heartbeat(health="DEGRADED"), NOW),
        judge("later", heartbeat(at=2), NOW),
    ]
    assert [site.key for site in silent_first(sites)] == ["later", "late", "broken", "down", "degraded", "ok"]


def test_what_a_site_says_cannot_steer_the_terminal() -> None:
    """Escape sequences of whoever may write to the bucket are shown as what they are."""
    site = judge("k", heartbeat(site="a\x1b[2Jb", reason="c\rd", version="1\x07"), NOW)
    assert site.said is not None
    assert (site.said.site, site.reason, site.said.version) == ("a\\x1b[2Jb", "c\\rd", "1\\x07")
