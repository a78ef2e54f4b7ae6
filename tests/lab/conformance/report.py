# SPDX-License-Identifier: GPL-3.0-or-later
"""Closing lines and the Markdown list of a conformance run. Pure, but for the outcomes collected by the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conformance.runner import Exclusion, Outcome
from conformance.transcript import Block

COLLECTED: dict[str, Outcome] = {}


def verdict(block_id: str, outcomes: Mapping[str, Outcome], exclusions: Mapping[str, Exclusion]) -> str:
    """passed | excluded | excluded, but passes | failed | not asked."""
    if block_id not in outcomes:
        return "not asked"
    if block_id in exclusions:
        return "excluded, but passes" if outcomes[block_id].passed else "excluded"
    return "passed" if outcomes[block_id].passed else "failed"


def closing_lines(
    blocks: Sequence[Block], outcomes: Mapping[str, Outcome], exclusions: Mapping[str, Exclusion]
) -> list[str]:
    """`conformance: N passed, M excluded of T blocks`, then what needs a look."""
    verdicts = {block.id: verdict(block.id, outcomes, exclusions) for block in blocks}
    by = {kind: [key for key, value in verdicts.items() if value == kind] for kind in set(verdicts.values())}
    excluded = len(by.get("excluded", [])) + len(by.get("excluded, but passes", []))
    lines = [f"conformance: {len(by.get('passed', []))} passed, {excluded} excluded of {len(blocks)} blocks"]
    for kind in ("failed", "not asked", "excluded, but passes"):
        if kind in by:
            names = " ".join(by[kind][:60]) + (" …" if len(by[kind]) > 60 else "")
            lines.append(f"conformance: {len(by[kind])} {kind}: {names}")
    return lines


def markdown(blocks: Sequence[Block], outcomes: Mapping[str, Outcome], exclusions: Mapping[str, Exclusion]) -> str:
    """The whole list as a Markdown document."""
    lines = ["# Conformance of the engine stand-in", "", *closing_lines(blocks, outcomes, exclusions), ""]
    excluded = [block for block in blocks if block.id in exclusions]
    lines += ["## Excluded", "", "| block | command | reason |", "|---|---|---|"]
    lines += [f"| {b.id} | `{_cell(b)}` | {exclusions[b.id].reason} |" for b in excluded]
    lines += ["", "## All blocks", "", "| block | verdict | command |", "|---|---|---|"]
    lines += [f"| {b.id} | {verdict(b.id, outcomes, exclusions)} | `{_cell(b)}` |" for b in blocks]
    return "\n".join(lines) + "\n"


def _cell(block: Block) -> str:
    first = (block.command or f"({block.stdout.splitlines()[0]} …)").splitlines()[0]
    return (first[:110] + "…" if len(first) > 110 else first).replace("|", "\\|").replace("`", "'")
