# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that show no command: what a node printed by itself, how it ended, how replicas spread."""

from __future__ import annotations

import time

from conformance.transcript import Block
from local.cluster import Cluster, ClusterError


def observe(cluster: Cluster, check: str, block: Block) -> str:
    """The text that corresponds to the block's, seen at the local cluster. `check`: name and arguments of walk.yml."""
    name, *arguments = check.split()
    return {"log": _log, "tail": _tail, "signal": _signal, "rebalance": _rebalance}[name](cluster, block, *arguments)


def _log(cluster: Cluster, block: Block, number: str, stream: str) -> str:
    """Everything the node has printed to one stream, or to both with the recording's separator."""
    node = cluster.nodes[int(number)]
    if stream != "both":
        return node.log(stream).read_text()
    return f"{node.log('stdout').read_text()}--- stderr\n{node.log('stderr').read_text()}"


def _tail(cluster: Cluster, block: Block, number: str) -> str:
    """The last lines of both streams, as many of each as the recording shows."""
    recorded = block.stdout.split("---\n")
    texts = (cluster.nodes[int(number)].log(stream).read_text() for stream in ("stdout", "stderr"))
    return "---\n".join(_last(text, part.count("\n")) for text, part in zip(texts, recorded, strict=True))


def _signal(cluster: Cluster, block: Block, number: str, name: str) -> str:
    """Sends the signal; exit code, time, and the last lines of both streams, as many as the recording shows."""
    begun = time.monotonic()
    code = cluster.signal(int(number), name)
    took = int((time.monotonic() - begun) * 1000)
    out, err = block.stdout.split("stdout:\n")[1].split("stderr:\n")
    logs = [cluster.nodes[int(number)].log(stream).read_text() for stream in ("stdout", "stderr")]
    return (
        f"signal {name}: exit code {code} after {took} ms\nstdout:\n{_last(logs[0], out.count(chr(10)))}"
        f"stderr:\n{_last(logs[1], err.count(chr(10)))}"
    )


def _rebalance(cluster: Cluster, block: Block, number: str) -> str:
    """Follows a joining node until its replicas no longer grow; passes the recorded text on when the course is alike.

    Alike: the newcomer begins with no replica (its share arrives after readiness, not with it), gets replicas and at
    last a lease, and the counts of no two nodes differ by more than half in the end (45, 45, 45, 39 were recorded).
    """
    seen: list[dict[str, tuple[int, int]]] = []
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        rows = cluster.sql("select node_id, ranges, leases from kwdb_internal.gossip_nodes order by 1")
        seen.append({row[0]: (int(row[1]), int(row[2])) for row in rows})
        ranges = [count for count, _ in seen[-1].values()]
        if seen[-1][number][1] and max(ranges) <= 1.5 * min(ranges):
            break
        time.sleep(1)
    course = "\n".join(" ".join(f"{node},{r},{leases}" for node, (r, leases) in row.items()) for row in seen) + "\n"
    if seen[0][number][0]:
        raise ClusterError(f"node {number} had replicas at once:\n{course}")
    if time.monotonic() >= deadline:
        raise ClusterError(f"the replicas did not spread to node {number} in 40 s:\n{course}")
    return block.stdout


def _last(text: str, lines: int) -> str:
    return "".join(text.splitlines(keepends=True)[-lines:])
