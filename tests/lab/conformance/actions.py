# SPDX-License-Identifier: GPL-3.0-or-later
"""The named actions of walk.yml: what the transcript's prose says happened between two commands."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from local.cluster import Cluster, ClusterError, wait_until

Action = Callable[..., None]
ACTIONS: dict[str, Action] = {}


def action(function: Action) -> Action:
    """Registers an action under its name with `_` written as `-`."""
    ACTIONS[function.__name__.replace("_", "-")] = function
    return function


def perform(cluster: Cluster, line: str) -> None:
    """Performs one action written as `name argument…`. Raises ClusterError when it does not come true in its time."""
    name, *arguments = line.split()
    ACTIONS[name](cluster, *arguments)


@action
def start(cluster: Cluster, *numbers: str) -> None:
    """Starts the nodes' processes."""
    cluster.start(*map(int, numbers))


@action
def form(cluster: Cluster, *numbers: str) -> None:
    """Starts the nodes, initialises through the first, waits for readiness."""
    cluster.form(*map(int, numbers))


@action
def sql(cluster: Cluster, *words: str) -> None:
    """Executes a statement through node 1."""
    cluster.sql(" ".join(words))


@action
def decommission(cluster: Cluster, number: str) -> None:
    """Decommissions the node and waits until it holds nothing."""
    done = cluster.cli("node", "decommission", number, "--wait=all", seconds=60)
    if done.returncode:
        raise ClusterError(f"decommission of node {number}: exit {done.returncode}: {done.stderr[-300:]}")


@action
def stop(cluster: Cluster, number: str) -> None:
    """SIGTERM, and waits for the end."""
    code = cluster.signal(int(number), "TERM")
    if code:
        raise ClusterError(f"node {number} ended with {code} after SIGTERM")


@action
def kill(cluster: Cluster, number: str) -> None:
    """SIGKILL."""
    cluster.kill(int(number))


@action
def await_http(cluster: Cluster, number: str, path: str) -> None:
    """Waits for 200 at the path."""
    cluster.await_http(int(number), path)


@action
def await_ready(cluster: Cluster, *numbers: str) -> None:
    """Waits for /health?ready=1 at each node."""
    cluster.await_ready(*map(int, numbers))


@action
def await_log(cluster: Cluster, number: str, stream: str, *words: str) -> None:
    """Waits until the node has printed the words (it says after 30 s that it cannot reach the others)."""
    path = cluster.nodes[int(number)].log(stream)
    wait_until(f"node {number} prints {' '.join(words)!r}", 45, lambda: " ".join(words) in path.read_text())


@action
def await_exit(cluster: Cluster, number: str) -> None:
    """Waits until the process has ended by itself."""
    wait_until(f"process of node {number} ends", 20, lambda: not cluster.nodes[int(number)].running)


@action
def await_replicas(cluster: Cluster, number: str) -> None:
    """Waits until the node holds replicas of at least three ranges."""
    statement = f"select count(*) from kwdb_internal.ranges_no_leases where {int(number)} = any(replicas)"
    wait_until(f"node {number} holds replicas", 60, lambda: int(cluster.sql(statement)[0][0]) >= 3, 0.3)


@action
def renumber(cluster: Cluster) -> None:
    """Takes the ids that the cluster gave as the nodes' numbers."""
    cluster.renumber()


@action
def await_gossiped_zero(cluster: Cluster, number: str) -> None:
    """Waits until gossip too says that the node holds nothing (the recorded decommission took longer than gossip)."""
    done = lambda: _status(cluster, number)["gossiped_replicas"] == "0"  # noqa: E731
    wait_until(f"gossiped_replicas of node {number} is 0", 20, done, 0.5)


@action
def await_whole(cluster: Cluster) -> None:
    """Waits until every range has three replicas on live nodes."""
    wait_until("every range is whole", 60, lambda: cluster.whole(), 0.3)


@action
def await_unlive(cluster: Cluster, number: str) -> None:
    """Waits until the node's liveness has expired (the first column but one of `node status`)."""
    wait_until(f"node {number} is not available", 30, lambda: _status(cluster, number)["is_available"] == "false", 0.3)


def _status(cluster: Cluster, number: str) -> dict[str, str]:
    """The node's row of `node status --decommission`."""
    done = cluster.cli("node", "status", number, "--decommission", "--format=csv")
    if done.returncode:
        raise ClusterError(done.stderr)
    header, row = (line.split(",") for line in done.stdout.splitlines())
    return dict(zip(header, row, strict=True))


def end_background(pid_file: os.PathLike[str]) -> None:
    """Ends the process that `--background` left behind, if it still runs."""
    try:
        with open(pid_file, encoding="ascii") as text:
            os.kill(int(text.read().strip()), signal.SIGKILL)
    except (OSError, ValueError):
        pass
