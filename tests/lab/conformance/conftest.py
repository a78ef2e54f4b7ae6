# SPDX-License-Identifier: GPL-3.0-or-later
"""Options, the walks, and the closing lines of the conformance run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import report, runner, transcript
from local.cluster import Cluster

BLOCKS = transcript.load(Path(__file__).resolve().parent / "transcripts.md")
# The second is the stand-in's: pause between moves of replicas, so that a walk of ten minutes takes three.
ENV = {"KWBASE_SKIP_ENABLING_DIAGNOSTIC_REPORTING": "true", "KWDB_LAB_MOVE_INTERVAL": "400ms"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """--conformance-report: a Markdown file to write."""
    parser.addoption("--conformance-report", type=Path, default=None, help="Markdown file to write")


@pytest.fixture(scope="session")
def walks(
    kwbase: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, runner.Process]]:
    """The walks by section, each up to the last block that is wanted; every process ends with the session."""
    wanted = {item.callspec.params["block"].id for item in request.session.items if "walks" in item.fixturenames}
    declared, special = runner.load_walk()
    by_section: dict[str, runner.Process] = {}
    try:
        for name, walk in declared.items():
            blocks = [block for block in BLOCKS if block.section in walk["sections"]]
            while blocks and blocks[-1].id not in wanted:
                blocks.pop()
            if blocks:
                root = tmp_path_factory.mktemp(name)
                binary = root / "bin" / "kwbase"
                binary.parent.mkdir()
                binary.symlink_to(kwbase)
                cluster = Cluster(binary, root, env=ENV)
                made = runner.Walk(blocks, special, cluster, walk.get("ask_node"), tuple(walk.get("begin", ())))
                by_section |= dict.fromkeys(walk["sections"], runner.Process(made))
        yield by_section
    finally:
        for process in set(by_section.values()):
            process.close()


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
