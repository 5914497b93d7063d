"""When a login at Frigate is tried again: rarely enough that its owner is never locked out."""

from __future__ import annotations

import pytest

from frigate_s3_mirror.api_login import LoginPause


@pytest.mark.parametrize(
    ("refusals", "asked", "pause"),
    [
        (1, None, 60.0), (2, None, 120.0), (4, None, 480.0), (5, None, 900.0), (5000, None, 900.0),
        (1, 30.0, 60.0), (1, 200.0, 200.0), (2, 119.0, 120.0), (1, 86_400.0, 900.0), (5, 10.0, 900.0), (1, 0.0, 60.0),
    ],
)  # fmt: skip
def test_each_refusal_doubles_the_pause_up_to_a_quarter_of_an_hour(
    refusals: int, asked: float | None, pause: float
) -> None:
    """What the server asks for counts where it is longer."""
    login = LoginPause()
    assert login.is_over(-1e9)
    for _ in range(refusals):
        login.refused(1000.0, "Frigate refuses the login.", asked)
    assert login.until == 1000.0 + pause
    assert login.sentence == "Frigate refuses the login."
    assert not login.is_over(1000.0 + pause - 0.01)
    assert login.is_over(1000.0 + pause)


def test_a_login_that_went_well_forgets_all_refusals() -> None:
    login = LoginPause()
    assert (login.is_over(0.0), login.sentence) == (True, "")
    for _ in range(3):
        login.refused(1000.0, "No.")
    login.accepted()
    assert (login.is_over(1000.0), login.sentence) == (True, "")
    login.refused(1000.0, "No.")
    assert login.until == 1060.0
