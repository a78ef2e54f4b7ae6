# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Every sort of fault during every operation: the asked-for state is reached by plain runs only, and no row is lost.

The ids of kinds that disturb the Kubernetes cluster as a whole begin with ``whole``: nobody else may use it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from faults import injectors, network
from faults.bed import OPERATIONS, Bed, Kind

KINDS = (
    Kind("409", network.conflicts),
    Kind("429", network.busy, smooth=True),
    Kind("500", network.broken),
    Kind("reset", network.resets),
    Kind("slow", network.slow, smooth=True),
    Kind("watch-cut", network.cut_watches, smooth=True),
    Kind("exec-cut", network.cut_execs),
    Kind("pod-0-deleted", injectors=(injectors.delete_pod_0,), disturbs=True),
    Kind("pod-evicted", injectors=(injectors.evict,), disturbs=True),
    Kind("claim-terminating", injectors=(injectors.delete_claim,), spoils=True),
    Kind("engine-hangs", injectors=(injectors.hang,)),
    Kind("clock-ahead", clocks=("+10m",), injectors=(injectors.ahead,), smooth=True),
    Kind("clock-behind", clocks=("-10m",), injectors=(injectors.behind,), smooth=True),
    Kind(
        "clocks-apart", clocks=("-10m", "+10m"), injectors=(injectors.stick, injectors.unstick), smooth=True,
        first={"max_runtime": "5"},
    ),
    Kind("whole-api-server", injectors=(injectors.restart_api_server,), whole=True),
    Kind("whole-kubelet", injectors=(injectors.stop_kubelet,), whole=True, disturbs=True),
    Kind("whole-worker", injectors=(injectors.stop_worker,), whole=True, disturbs=True),
)  # fmt: skip
QUICK = {
    ("reset", "deploy"), ("429", "upgrade"), ("409", "scale_out"), ("exec-cut", "scale_in"), ("watch-cut", "scale_out"),
    ("500", "scale_in"), ("pod-0-deleted", "scale_out"), ("engine-hangs", "scale_in"),
}  # fmt: skip


@pytest.fixture(scope="session")
def beds(kind_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beds]:
    """The cluster of the cell before, where it is whole."""
    with ExitStack() as stack:
        yield Beds(stack, tmp_path_factory)


class Beds:
    """One cluster at a time."""

    def __init__(self, stack: ExitStack, homes: pytest.TempPathFactory) -> None:
        self._stack, self._homes = stack, homes
        self._bed: Bed | None = None

    def bed(self, fresh: bool) -> Bed:
        """fresh: one without a cluster yet."""
        if self._bed is None or self._bed.broken or fresh:
            self._stack.close()
            self._bed = Bed(self._homes.mktemp("bed"))
            self._stack.callback(self._bed.close)
        return self._bed


def cells() -> Iterator[object]:
    """Kind by kind, each in the order in which one operation's end is the next one's beginning."""
    for kind in KINDS:
        for operation in OPERATIONS:
            marks = [pytest.mark.xdist_group(kind.name)]
            marks += [pytest.mark.quick] if (kind.name, operation) in QUICK else []
            yield pytest.param(kind, operation, id=f"{kind.name}-{operation}", marks=marks)


@pytest.mark.parametrize(("kind", "operation"), list(cells()))
def test_the_asked_for_state_is_reached(beds: Beds, kind: Kind, operation: str) -> None:
    bed = beds.bed(fresh=operation == "deploy")
    complaints = bed.cell(kind, OPERATIONS[operation])
    assert not complaints, "\n".join(complaints)
