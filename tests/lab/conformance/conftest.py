# SPDX-License-Identifier: GPL-3.0-or-later
"""Options, the walks, and the closing lines of the conformance run."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import report, runner, transcript
from local.cluster import Cluster

BLOCKS = transcript.load(Path(__file__).resolve().parent / "transcripts.md")
ENV = {"KWBASE_SKIP_ENABLING_DIAGNOSTIC_REPORTING": "true"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """--conformance-report: a Markdown file to write."""
    parser.addoption("--conformance-report", type=Path, default=None, help="Markdown file to write")


@pytest.fixture(scope="session")
def walks(kwbase: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, runner.Walk]]:
    """The walks by section; every process ends with the session."""
    declared, special = runner.load_walk()
    by_section: dict[str, runner.Walk] = {}
    made: list[runner.Walk] = []
    for name, walk in declared.items():
        root = tmp_path_factory.mktemp(name)
        binary = root / "bin" / "kwbase"
        binary.parent.mkdir()
        binary.symlink_to(kwbase)
        blocks = [block for block in BLOCKS if block.section in walk["sections"]]
        made.append(runner.Walk(blocks, special, Cluster(binary, root, env=ENV), walk.get("ask_node")))
        by_section.update(dict.fromkeys(walk["sections"], made[-1]))
    try:
        yield by_section
    finally:
        for walk in made:
            walk.close()
            walk.cluster.__exit__()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The closing lines, when blocks were asked."""
    outcomes = report.COLLECTED
    if not outcomes:
        return
    exclusions = runner.load_exclusions()
    for line in report.closing_lines(BLOCKS, outcomes, exclusions):
        terminalreporter.write_line(line)
    target: Path | None = config.getoption("--conformance-report")
    if target:
        target.write_text(report.markdown(BLOCKS, outcomes, exclusions), encoding="utf-8")
