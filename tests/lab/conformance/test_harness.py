# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness itself: what it reads, and that it forgives ids, times, hosts, ports, sizes and builds only."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from conformance import actions, report, runner
from conformance.conftest import BLOCKS
from conformance.normalise import normalise
from conformance.transcript import parse

BY_ID = {block.id: block for block in BLOCKS}


def test_every_block_is_read() -> None:
    """The blocks are those of the file: each fence pair one, each exit code one command."""
    text = (Path(__file__).parent / "transcripts.md").read_text(encoding="utf-8")
    assert len(BLOCKS) == len(re.findall(r"(?m)^```$", text)) / 2
    assert sum(block.command is not None for block in BLOCKS) == text.count("\n# exit code ")
    assert [block.id for block in BLOCKS if block.cut] == ["24.04", "24.07"]
    assert BY_ID["02.02"].stdout.endswith("}Grpc-Trailer-Content-Type: application/grpc\n")
    assert BY_ID["02.01"].stdout.endswith("\n\n}")


def test_recorded_sizes_agree() -> None:
    """Where the recording names a size, the parsed text has it (curl's CR LF apart, which the recording dropped)."""
    block = BY_ID["03.04"]
    assert len(block.stdout) == 506
    assert len(BY_ID["12.01"].stderr) == 719


def test_unclosed_fence_is_refused() -> None:
    """A damaged transcript is no shorter list of blocks."""
    with pytest.raises(ValueError, match="fence"):
        parse("## 1. x\n\n```\n$ true\n# exit code 0, 1 ms\n# stdout:\n# stderr:\n")


def test_walk_names_what_exists() -> None:
    """walk.yml and excluded.yml name only blocks, actions and normalisers that exist; each section is in one walk."""
    walks, special = runner.load_walk()
    walked = sorted(section for walk in walks.values() for section in walk["sections"])
    assert walked == sorted({block.section for block in BLOCKS})
    assert set(special) <= set(BY_ID)
    assert set(runner.load_exclusions()) <= set(BY_ID)
    begun = [line.split()[0] for walk in walks.values() for line in walk.get("begin", [])]
    assert set(begun) <= set(actions.ACTIONS)
    for entry in special.values():
        assert {line.split()[0] for line in entry.get("before", [])} <= set(actions.ACTIONS)
        assert set(entry.get("forgive", [])) <= set(runner.SPECIAL)
        assert set(entry) <= {"before", "check", "within", "cut", "store", "forgive"}


@pytest.mark.parametrize(
    ("block_id", "recorded", "wrong"),
    [
        ("03.04", "region=NODE3\tstart\ttrue\ttrue", "region=NODE3\tstart\ttrue\tfalse"),
        ("05.04", "is_available | is_live", "is_live | is_available"),
        ("07.05", "4,true,0,true,false", "4,true,1,true,false"),
        ("07.07", "true,true,0,true,false", "true,true,7,true,false"),
        ("08.02", "4,35,12", "4,0,0"),
        ("02.02", '"code": 14', '"code": 13'),
        ("02.01", "Content-Length: 4", "Content-Length: 5"),
        ("04.07", "2\n", "3\n"),
        ("05.13", "# TYPE sql_query_count counter\n", "sql_query_count\n"),
        ("15.05", '"3": 2', '"3": 3'),
        ("24.08", "RESTART HISTORY,Start KWBASE SERVICE,succeeded", "RESTART HISTORY,Start KWBASE SERVICE,running"),
        ("24.36", "setting or", "setting and"),
        ("24.09", '"",root', ",root"),
        ("24.05", "\n0,0", "\n1,0"),
    ],
)
def test_a_difference_that_counts_is_seen(block_id: str, recorded: str, wrong: str) -> None:
    """Normalisation leaves what a tool would decide by."""
    block = BY_ID[block_id]
    text = block.stdout + block.stderr
    assert recorded in text
    assert normalise(text) != normalise(text.replace(recorded, wrong, 1))


@pytest.mark.parametrize(
    ("block_id", "recorded", "other"),
    [
        ("03.04", "2026-11-23 03:11:55.563748", "2027-01-02 03:04:05.6"),
        ("03.04", "V3.2.1-28-ga5c90efc1", "V3.2.2"),
        ("03.07", "a2f83b2b-0cd3-403f-b4cf-eee9dd8ca59a", "00000000-0cd3-403f-b4cf-eee9dd8ca59a"),
        ("07.05", "4,true,40,true,false", "4,true,11,true,false"),
        ("24.39", "go1.22.12, gcc 12.2.0", "go1.26, gcc 13.1.0"),
        ("24.03", "1,1,270553174016", "1,1,5"),
        ("15.05", '"epoch": "6"', '"epoch": "2"'),
        ("05.13", "# TYPE sql_query_count counter\nsql_query_count 24.0\n", ""),
    ],
)
def test_a_difference_that_is_chance_is_forgiven(block_id: str, recorded: str, other: str) -> None:
    """Ids, times, builds, sizes and counts of ranges may differ."""
    block = BY_ID[block_id]
    text = block.stdout + block.stderr
    assert recorded in text
    assert normalise(text) == normalise(text.replace(recorded, other))


def test_a_hanging_command_is_cut_with_its_children(tmp_path: Path) -> None:
    """Exit code 124, the output so far, and nothing left running."""
    code, out, _ = runner.run_bounded("echo begun; sleep 61 & wait", 0.5, {"PATH": "/usr/bin:/bin"}, tmp_path / "out")
    assert (code, out) == (124, "begun\n")
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "sleep 61" not in left


def test_closing_lines_name_every_kind() -> None:
    """Failed blocks and exclusions that pass are never silent."""
    blocks = BLOCKS[:4]
    outcomes = {block.id: runner.Outcome(passed) for block, passed in zip(blocks, (True, False, True), strict=False)}
    lines = report.closing_lines(blocks, outcomes, {blocks[2].id: runner.Exclusion(blocks[2].id, "because")})
    assert lines[0] == "conformance: 1 passed, 1 excluded of 4 blocks"
    assert lines[1:] == [
        f"conformance: 1 failed: {blocks[1].id}",
        f"conformance: 1 not asked: {blocks[3].id}",
        f"conformance: 1 excluded, but passes: {blocks[2].id}",
    ]
