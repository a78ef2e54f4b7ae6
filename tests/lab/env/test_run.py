# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Stages that run beside others: told once, in the table, also when they fail or leave no result."""

from __future__ import annotations

import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
import workspace
from stages import Stage
from summary import FAILED, PASSED, Check

FAKE = """#!/bin/sh
saved() { echo "{\\"stage\\": \\"$1\\", \\"seconds\\": 2, \\"checks\\": [{\\"name\\": \\"c\\", \\"outcome\\": \\"$2\\"}]}" >"$RESULTS/$1.json"; }
case $1 in
  good) sleep 1; saved good passed ;;
  bad) mkdir -p "$LOGS"; echo "the end of bad" >"$LOGS/bad.log"; saved bad failed ;;
  none) echo "no result of none"; exit 3 ;;
  long) sleep 300 ;;
esac
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The program with a lab and stages that are a shell script."""
    for name, content in (("run", FAKE), ("up", "#!/bin/sh\n")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    for name, path in (("REPO", ""), ("HERE", ""), ("KIND", ""), ("LOGS", "log"), ("RESULTS", "results")):
        monkeypatch.setattr(workspace, name, tmp_path / path)
    for name in ("LOGS", "RESULTS"):
        monkeypatch.setenv(name, str(getattr(workspace, name)))
    monkeypatch.setattr(workspace, "deadline", workspace.deadline)
    monkeypatch.setattr(workspace, "python", lambda which="first": None)
    loader = SourceFileLoader("run_under_test", str(Path(__file__).with_name("run")))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    program = module_from_spec(spec)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    loader.exec_module(program)
    monkeypatch.setattr(program, "first", lambda: "a Python")
    return program


def stage(name: str, outcome: str = PASSED, **how: Any) -> Stage:
    return Stage(name, lambda _log, _echo: [Check(name, outcome)], **how)


def test_each_is_told_after_the_stage_it_runs_beside(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = [stage(name, beside="two") for name in ("good", "bad", "none")]
    monkeypatch.setattr(run, "STAGES", (stage("lab"), *beside, stage("one"), stage("two"), stage("three")))
    assert run.run_all() == 1
    said = capsys.readouterr().out
    lines = [line.split(":")[0] for line in said.splitlines() if " passed, " in line and " in " in line]
    assert lines == ["lab", "one", "two", "good", "bad", "none", "three"]
    assert "the end of bad" in said and "no result of none" in said and "exit code 3 without a result" in said
    assert said.splitlines()[-1] == "5 passed, 2 failed, 0 skipped"


def test_without_a_cluster_nothing_is_begun(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = (stage("lab", FAILED), stage("good", nodes=True, beside="one"), stage("one"))
    monkeypatch.setattr(run, "STAGES", stages)
    assert run.run_all() == 1
    said = capsys.readouterr().out
    assert "good: not run (the lab has no healthy cluster)" in said
    assert said.splitlines()[-1] == "1 passed, 2 failed, 0 skipped"


def test_an_interruption_ends_what_runs_beside(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_log: Path, _echo: bool) -> list[Check]:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        run, "STAGES", (stage("lab"), stage("long", beside="one"), Stage("one", interrupted), stage("two"))
    )
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run.run_all()
    assert time.monotonic() - begun < 60
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 3 failed, 0 skipped"


def test_what_runs_beside_ends_with_a_stage_that_follows(run: Any) -> None:
    names = [each.name for each in run.STAGES]
    assert all(names.index(each.beside) > names.index(each.name) for each in run.STAGES if each.beside)
