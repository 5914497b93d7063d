"""Trouble that many meet is told once, and again when it lasts."""

from __future__ import annotations

from frigate_s3_mirror.trouble import TELL_AGAIN_SECONDS, Trouble


def test_many_meet_it_and_one_line_tells() -> None:
    trouble = Trouble()
    assert [trouble.met("No folder.", now) for now in (1.0, 1.1, 30.0)] == [True, False, False]
    assert trouble.sentence == "No folder."
    assert trouble.met("No folder.", 1.0 + TELL_AGAIN_SECONDS)


def test_what_comes_and_goes_is_not_told_each_time() -> None:
    """Some files are in that folder, others are not from there."""
    trouble = Trouble()
    assert trouble.met("No folder.", 1.0)
    trouble.is_over()
    assert trouble.sentence is None
    assert not trouble.met("No folder.", 2.0)
    assert trouble.sentence == "No folder."


def test_other_trouble_is_news() -> None:
    trouble = Trouble()
    assert trouble.met("No folder.", 1.0)
    assert trouble.met("Frigate refuses us.", 2.0)
