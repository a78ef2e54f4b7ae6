# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Killed inside an engine call that hangs: nothing of it goes on living in the pod beyond its bound, and nothing is done twice.

Ending a stream ends nothing in a container; what ends the call is the bound that it carries with it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from kindlab import IMAGE, until

from faults.kill.chain import NAME, Chain
from faults.kill.state import Wanted
from faults.proxy import Request
from faults.runner import KillInside

# The command line itself is put aside, so that whatever image it is hangs for certain; the server runs on.
HANG = (
    """cd /kaiwudb/bin && mv kwbase kwbase.aside && printf '#!/bin/sh\\nexec sleep 999\\n' >kwbase && chmod +x kwbase"""
)
ANSWER = "cd /kaiwudb/bin && mv kwbase.aside kwbase"
STUCK = "/kaiwudb/lab/stuck-decommission"
SLACK = 3.0  # seconds beyond the bound; a look into the pod takes a part of one


def beside_the_server(chain: Chain, pod: str) -> list[str]:
    """Command lines of what lives in the database container beside the server and this look. A zombie does not live."""
    lines = [line.split(None, 2) for line in chain.place.exec(pod, "ps", "-o", "pid,stat,args").splitlines()[1:]]
    return [words for pid, stat, words in lines if pid != "1" and stat[0] != "Z" and not words.startswith("ps ")]


class Hanging:
    """An engine call that hangs from the moment the run asks for it. ``asked``: when; ``bound``: what it may last."""

    def __init__(self, chain: Chain, *words: str) -> None:
        self.chain = chain
        self.asked = self.bound = 0.0
        self.pod = ""
        self.kill = KillInside(words, self._hang, self._runs)

    def _hang(self, request: Request) -> None:
        self.pod, self.asked = request.name, time.monotonic()
        command = request.query["command"]
        assert command[:3] == ["timeout", "-s", "KILL"], command
        self.bound = float(command[3])
        self.chain.place.exec(self.pod, "sh", "-c", HANG)

    def _runs(self, request: Request) -> bool:
        return "sleep 999" in beside_the_server(self.chain, request.name)

    def ends(self) -> None:
        """Within its bound nothing but the server lives in the pod; then calls are answered again."""
        assert self.kill.victim, "the run ended before the call"
        left = self.asked + self.bound + SLACK - time.monotonic()
        until(f"{self.pod} is empty of calls", lambda: not beside_the_server(self.chain, self.pod), left, 0.2)
        self.chain.place.exec(self.pod, "sh", "-c", ANSWER)


def die_inside(chain: Chain, operation: str, words: str, wanted: Wanted, **options: Any) -> None:
    """The point: killed inside, the pod clean in time, a plain run reaches what was asked for."""
    hanging = Hanging(chain, *words.split())

    def mend() -> None:
        hanging.ends()
        if words == "init":  # one that went on without its run could initialise beside the next one's
            assert chain.place.ready_count(NAME) == 0, "initialised by a call that nobody waits for"

    chain.strike(f"{operation}: killed inside {words}", hanging.kill, wanted, mend=mend, **options)


@pytest.mark.quick
def test_nothing_of_an_engine_call_outlives_its_bound(kind_cluster: None, tmp_path: Path) -> None:
    """One point for each sort of call, on one cluster, in the order in which they come up."""
    chain = Chain("inside", "before", 1, tmp_path)
    out, back = {"replicas": "4"}, {"replicas": "3", "volumes": "wipe"}
    with chain.living():
        chain.plain(operations=["create"])
        die_inside(chain, "init", "init", Wanted(3, IMAGE), operations=["initialize"])
        die_inside(chain, "scale_out", "node status", Wanted(4, IMAGE), **out)
        die_inside(chain, "scale_in", "sql", Wanted(3, IMAGE), **back)
        chain.plain(**out)
        die_inside(chain, "scale_in", "node decommission", Wanted(3, IMAGE), **back)
        chain.plain(**out)
        chain.place.exec(f"{NAME}-3", "sh", "-c", f"mkdir -p {STUCK.rpartition('/')[0]} && touch {STUCK}")
        until(
            "it holds replicas", lambda: (chain.place.row_of(NAME, 3) or {}).get("gossiped_replicas", "0") != "0", 90, 1
        )
        begun = chain.run("scale_in", **back, max_runtime="10")
        assert begun.data.get("in_progress"), begun.why
        until("the node is leaving", lambda: (chain.place.row_of(NAME, 3) or {}).get("is_decommissioning") == "true", 5)
        die_inside(chain, "undo", "node recommission", Wanted(4, IMAGE), **out)
    assert not chain.failures, "\n".join(chain.failures)
