# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The counts that ``make test`` closes with are those of the stages."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import workspace
from summary import FAILED, PASSED, SKIPPED, Check, Result, duration, from_go, from_junit, load, render, totals


def test_closing_line_stands_alone_and_counts_every_stage() -> None:
    results = [
        Result(
            "a", 75, [Check("1", PASSED), Check("2", FAILED, "because\nof this"), Check("3", SKIPPED, "no such thing")]
        ),
        Result("b", 2.5, [Check("4", PASSED)]),
    ]
    text = render(results, ["Python 3.11"], 77.5)
    assert text.splitlines()[-1] == "2 passed, 1 failed, 1 skipped"
    assert "FAILED  a: 2 (because of this)" in text
    assert "SKIPPED a: 3 (no such thing)" in text
    assert re.search(r"^a +1 +1 +1 +1 min 15 s$", text, re.MULTILINE)
    assert totals(results) == (2, 1, 1)


def test_junit_tells_failures_errors_and_skips_apart(tmp_path: Path) -> None:
    file = tmp_path / "result.xml"
    file.write_text(
        '<testsuites><testsuite><testcase classname="m" name="ok"/><testcase name="bad"><failure message="no"/></testcase>'
        '<testcase name="worse"><error>boom</error></testcase><testcase name="left"><skipped message="why"/></testcase>'
        "</testsuite></testsuites>",
        encoding="utf-8",
    )
    assert from_junit([file]) == [
        Check("m::ok", PASSED), Check("bad", FAILED, "no"), Check("worse", FAILED, "boom"), Check("left", SKIPPED, "why"),
    ]  # fmt: skip


def test_go_package_that_does_not_build_is_a_failure_of_its_own() -> None:
    lines = [
        '{"Action":"pass","Package":"p","Test":"One"}',
        '{"Action":"fail","Package":"p","Test":"Two"}',
        '{"Action":"fail","Package":"p"}',
        "not json",
        '{"Action":"fail","Package":"q"}',
        '{"Action":"skip","Package":"p","Test":"Three"}',
        '{"Action":"output","Package":"p","Output":"x"}',
    ]
    assert [(check.name, check.outcome) for check in from_go(lines)] == [
        ("p.One", PASSED), ("p.Two", FAILED), ("p.Three", SKIPPED), ("q", FAILED),
    ]  # fmt: skip


def test_result_is_what_was_saved(tmp_path: Path) -> None:
    result = Result("stage", 1.25, [Check("x", FAILED, "y")])
    result.save(tmp_path)
    assert load(tmp_path / "stage.json") == result


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 00 s"), (3725, "62 min 05 s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_command_that_takes_too_long_ends_with_its_children(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert workspace.run(["sh", "-c", "sleep 300 & echo child $!; wait"], log, seconds=0.5) == 124
    found = re.search(r"child (\d+)", log.read_text(encoding="utf-8"))
    assert found
    end = time.monotonic() + 10  # what was killed dies when the processor comes round to it
    while _runs(int(found[1])) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _runs(int(found[1]))
    assert "it took too long" in log.read_text(encoding="utf-8")


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
