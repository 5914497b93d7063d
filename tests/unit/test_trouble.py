"""Trouble that many meet is told once, and again when it lasts; what is one's own trouble alone stays until it is over."""

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


def test_what_others_do_not_meet_is_not_over_for_one() -> None:
    """A file that may not be read among twenty good ones: health does not flap with each of them."""
    trouble = Trouble()
    assert trouble.met("a.jpg cannot be read.", 1.0, who="a", kind="EACCES")
    trouble.is_over("b")
    trouble.is_over()
    assert trouble.sentence == "a.jpg cannot be read."
    trouble.is_over("a")
    assert trouble.sentence is None


def test_many_of_a_kind_are_told_and_shown_in_one_line() -> None:
    trouble = Trouble()
    told = [trouble.met(f"{n}.jpg cannot be read.", 1.0, who=n, kind="EACCES") for n in range(3)]
    assert told == [True, False, False]
    assert trouble.sentence == "0.jpg cannot be read. 2 more wait for the like."


def test_who_never_comes_back_is_forgotten() -> None:
    """The entry was given up elsewhere, or its ledger is another one."""
    trouble = Trouble()
    trouble.met("a.jpg cannot be read.", 1.0, who="a")
    trouble.forget_old(800.0)
    assert trouble.sentence is not None
    trouble.forget_old(902.0)
    assert trouble.sentence is None
