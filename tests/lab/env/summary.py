# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What a stage found, and the table and closing line at the end of ``make test``. Pure, but for reading result files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from xml.etree import ElementTree

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass
class Check:
    """One thing that passed, failed or was skipped; ``why`` says what a reader needs when it did not pass."""

    name: str
    outcome: str
    why: str = ""


@dataclass
class Result:
    """A stage: its checks and how long it took, in seconds."""

    stage: str
    seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        return sum(check.outcome == outcome for check in self.checks)

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{self.stage}.json").write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def load(path: Path) -> Result:
    """The result a stage has saved."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return Result(data["stage"], data["seconds"], [Check(**check) for check in data["checks"]])


def from_junit(paths: Iterable[Path]) -> list[Check]:
    """The test cases of JUnit files (pytest, ansible-test). Raises ElementTree.ParseError for a file that is none."""
    checks = []
    for path in sorted(paths):
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
            broken = next((child for child in case if child.tag in ("failure", "error")), None)
            skipped = case.find("skipped")
            if broken is not None:
                checks.append(Check(name, FAILED, f"{broken.get('message') or ''} {broken.text or ''}".strip()[:500]))
            elif skipped is not None:
                checks.append(Check(name, SKIPPED, (skipped.get("message") or "")[:200]))
            else:
                checks.append(Check(name, PASSED))
    return checks


def from_go(lines: Iterable[str]) -> list[Check]:
    """The tests of ``go test -json``; a package that does not build counts as one failed check."""
    outcomes = {"pass": PASSED, "fail": FAILED, "skip": SKIPPED}
    checks, failed_packages, failed_in = [], [], set()
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        outcome = outcomes.get(event.get("Action", ""))
        if not outcome:
            continue
        package = event.get("Package", "")
        if "Test" in event:
            checks.append(Check(f"{package}.{event['Test']}", outcome))
            if outcome == FAILED:
                failed_in.add(package)
        elif outcome == FAILED:
            failed_packages.append(package)
    return checks + [
        Check(package, FAILED, "does not build, or crashed") for package in failed_packages if package not in failed_in
    ]


def duration(seconds: float) -> str:
    """``75`` as ``1 min 15 s``."""
    whole = round(seconds)
    return f"{seconds:.1f} s" if seconds < 59.95 else f"{whole // 60} min {whole % 60:02d} s"


def totals(results: Sequence[Result]) -> tuple[int, int, int]:
    """Checks that passed, failed and were skipped, over all stages."""
    passed, failed, skipped = (
        sum(result.count(outcome) for result in results) for outcome in (PASSED, FAILED, SKIPPED)
    )
    return passed, failed, skipped


def render(results: Sequence[Result], ran_on: Sequence[str], seconds: float) -> str:
    """Every failure and skip with its reason, a table of the stages, what it ran on, and the closing line alone on its line."""
    lines = []
    for outcome in (FAILED, SKIPPED):
        for result in results:
            for check in result.checks:
                if check.outcome == outcome:
                    why = " ".join(check.why.split())
                    lines.append(f"{outcome.upper():8}{result.stage}: {check.name}{f' ({why[:300]})' if why else ''}")
    lines += ["", f"{'stage':<24}{'passed':>8}{'failed':>8}{'skipped':>9}   took"]
    for result in results:
        counts = [result.count(outcome) for outcome in (PASSED, FAILED, SKIPPED)]
        lines.append(f"{result.stage:<24}{counts[0]:>8}{counts[1]:>8}{counts[2]:>9}   {duration(result.seconds)}")
    lines += ["", *(f"ran on {each}" for each in ran_on), f"took {duration(seconds)}"]
    passed, failed, skipped = totals(results)
    lines.append(f"{passed} passed, {failed} failed, {skipped} skipped")
    return "\n".join(lines)
