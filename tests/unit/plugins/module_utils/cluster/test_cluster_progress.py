# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A count that falls: over pauses, over slices, and over another run whose clock is another one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.progress import EVERY, Falling, about, took

THEN = 1.7e9


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 s"), (0.4, "1 s"), (1.6, "2 s"), (40, "40 s"), (89.4, "89 s"), (90, "2 min"), (100, "2 min"), (239, "4 min"), (3600, "60 min"),
        (5399, "90 min"), (5400, "2 h"), (7200, "2 h"), (90000, "25 h"),
    ],
)  # fmt: skip
def test_a_duration_as_one_would_say_it(seconds: float, text: str) -> None:
    assert about(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (60, "1 min 0 s"),
        (192, "3 min 12 s"),
        (3725, "62 min 5 s"),
    ],
)
def test_a_duration_for_a_person(seconds: float, text: str) -> None:
    assert took(seconds) == text


def over(readings: list[tuple[int, float]], run: str = "r1", known: Any = None) -> tuple[Falling, list[str]]:
    """After these readings (left, seconds since THEN), with what was said at each."""
    falling = Falling("replicas", run, known)
    return falling, [falling.now(left, THEN + seconds) for left, seconds in readings]


def test_the_first_reading_is_said() -> None:
    falling, said = over([(341, 0)])
    assert said == ["341 of 341 replicas left"] and falling.still_for(THEN) == 0
    assert falling.figures == {"replicas_left": 341, "replicas_at_start": 341, "per_second": 0.0}


def test_rate_and_time_left() -> None:
    falling, said = over([(341, 0), (241, 50), (120, 100)])
    assert said[1:] == [
        "241 of 341 replicas left   2.0/s   about 2 min left",
        "120 of 341 replicas left   2.2/s   about 54 s left",
    ]
    assert falling.rate == pytest.approx(2.21) and falling.figures["per_second"] == 2.21


def test_a_pause_is_quiet_and_lengthens_the_time() -> None:
    falling, said = over([(15, 0), (15, 2), (14, 8), (14, 10), (13, 20)])
    assert said == [
        "15 of 15 replicas left",
        "",
        "14 of 15 replicas left   0.1/s   about 2 min left",
        "",
        "13 of 15 replicas left   0.1/s   about 2 min left",
    ]
    assert falling.still_for(THEN + 27) == 7.0


def test_quick_work_does_not_flood_but_its_end_is_said() -> None:
    falling, said = over([(20, 0), (19, 1), (18, 2), (17, EVERY - 0.1), (16, EVERY), (1, EVERY + 1), (0, EVERY + 2)])
    assert [bool(line) for line in said] == [True, False, False, False, True, False, True]
    assert said[-1] == "0 of 20 replicas left" and falling.rate == pytest.approx(20 / (EVERY + 2))


def test_what_is_not_said_still_counts_as_moved() -> None:
    falling, _said = over([(20, 0), (19, 3)])
    assert falling.still_for(THEN + 4) == 1.0


def test_a_count_that_rises_moves_too_and_is_no_negative_rate() -> None:
    """Ranges split while a node leaves."""
    falling, said = over([(10, 0), (14, 20)])
    assert said[1] == "14 of 14 replicas left" and falling.rate == 0.0 and falling.still_for(THEN + 21) == 1.0
    falling.now(7, THEN + 40)
    assert falling.text == "7 of 14 replicas left   0.1/s   about 2 min left"


def test_within_one_second_no_rate_explodes() -> None:
    falling, _said = over([(100, 0), (90, 0.001)])
    assert falling.rate == 10.0


# ---- over slices


def test_the_next_slice_of_the_run_goes_on() -> None:
    first, _said = over([(341, 0), (241, 50)])
    second = Falling("replicas", "r1", first.kept())
    assert second.now(241, THEN + 80) == "", "nothing moved between them"
    assert second.still_for(THEN + 80) == 30.0, "so a decommission cut into slices can stall"
    assert second.now(141, THEN + 100) == "141 of 341 replicas left   2.0/s   about 70 s left"
    assert second.figures["replicas_at_start"] == 341


def test_kept_is_of_its_own_and_plain_data() -> None:
    falling, _said = over([(5, 0)])
    kept = falling.kept()
    falling.now(4, THEN + 1)
    assert kept["left"] == 5 and json.loads(json.dumps(kept)) == kept


# ---- over another run


@pytest.mark.parametrize("ahead", [-100000.0, -400.0, 400.0, 100000.0])
def test_another_runs_clock_stalls_nobody(ahead: float) -> None:
    """Killed, and run again an hour later on a machine whose clock is another one."""
    first, _said = over([(341, 0), (241, 50)], run="r1")
    second = Falling("replicas", "r2", first.kept())
    assert second.now(241, THEN + ahead) == "241 of 341 replicas left", "said, for this run has not said it"
    assert second.still_for(THEN + ahead) == 0.0 and second.rate == 0.0
    assert second.still_for(THEN + ahead + 299) == 299.0, "its own clock counts from now on"
    second.now(231, THEN + ahead + 300)
    assert second.rate == pytest.approx(10 / 300) and second.figures["replicas_at_start"] == 341


def test_what_another_run_left_is_not_taken_for_this_ones_rate() -> None:
    first, _said = over([(341, 0), (41, 10)], run="r1")
    second = Falling("replicas", "r2", first.kept())
    second.now(31, THEN + 1000)
    assert second.rate == 0.0 and second.text == "31 of 341 replicas left"


def test_a_job_that_is_started_again_and_again_finds_a_stall() -> None:
    """Each run looks for a minute, on a machine whose clock is another one, with a night between; the count stands still."""
    known: dict[str, Any] = {}
    for run, began in (("r1", 0.0), ("r2", -5e6), ("r3", 4e4), ("r4", 9e4), ("r5", 10.0)):
        falling, _said = over([(7, began), (7, began + 60)], run=run, known=known)
        assert falling.rate == 0.0
        known = json.loads(json.dumps(falling.kept()))
    assert falling.still_for(THEN + 70) == 300.0
    later, _said = over([(7, 0), (6, 1)], run="r6", known=known)
    assert later.still_for(THEN + 1) == 0.0, "what moves is no stall"
    moved, _said = over([(6, 0)], run="r6", known=known)
    assert moved.still_for(THEN) == 0.0, "nor what moved between two runs"


def test_after_a_stall_was_told_the_next_run_has_the_whole_time() -> None:
    first, _said = over([(7, 0), (7, 300)])
    first.begin_anew()
    second, _said = over([(7, 0)], run="r2", known=first.kept())
    assert second.still_for(THEN) == 0.0


@pytest.mark.parametrize("nonsense", ["x", None, [], -5.0, float("nan")])
def test_a_standstill_that_nobody_can_read_is_none(nonsense: Any) -> None:
    falling, _said = over([(7, 0)], known={"run": "r0", "left": 7, "first": 7, "still": nonsense})
    assert falling.still_for(THEN) == 0.0


def test_a_clock_that_is_set_back_is_no_negative_time() -> None:
    falling, _said = over([(10, 100)])
    assert falling.still_for(THEN) == 0.0


def test_nothing_known_and_something_that_is_not_ours() -> None:
    for known in (None, {}, {"node": 4}, {"run": "r1"}, {"run": "r0", "moved": 5.0, "since": 1.0, "from": 99}):
        falling, said = over([(7, 0)], known=known)
        assert said == ["7 of 7 replicas left"] and falling.still_for(THEN + 3) == 3.0, known
