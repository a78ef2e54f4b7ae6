# SPDX-License-Identifier: GPL-3.0-or-later
"""The Driver over local processes: ordinal n is node n + 1 of the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from local.cluster import Cluster, ClusterError, wait_until


@dataclass
class LocalDriver:
    """Four processes on 127.0.0.1; `form` first."""

    cluster: Cluster

    def form(self) -> None:
        """Starts and initialises three nodes, then a fourth joins."""
        self.cluster.form(1, 2, 3)
        self.cluster.start(4)
        self.cluster.await_ready(4)

    def addresses(self) -> list[str]:
        return [self.cluster.nodes[number].sql for number in (1, 2)]

    def stop(self, ordinal: int) -> None:
        # A pod's end: SIGTERM, and SIGKILL after its grace period (without quorum a drain waits for ever).
        try:
            self.cluster.signal(ordinal + 1, "TERM", 8)
        except ClusterError:
            self.cluster.kill(ordinal + 1)

    def wipe(self, ordinal: int) -> None:
        self.cluster.wipe(ordinal + 1)

    def start(self, ordinal: int) -> None:
        self.cluster.start(ordinal + 1)
        try:
            self.cluster.await_ready(ordinal + 1, seconds=15)
        except ClusterError:
            if not self.cluster.nodes[ordinal + 1].running:
                raise

    def decommission(self, ordinal: int) -> None:
        address = self.cluster.nodes[ordinal + 1].sql
        live = "select node_id from kwdb_internal.gossip_nodes where is_live and address ="
        rows = self.cluster.sql(f"{live} '{address}'")
        if len(rows) != 1:
            raise ClusterError(f"{len(rows)} live nodes have the address {address}")
        done = self.cluster.cli("node", "decommission", rows[0][0], "--wait=all", "--format=csv", seconds=120)
        if done.returncode:
            raise ClusterError(f"decommission of node {rows[0][0]}: exit {done.returncode}: {done.stderr[-500:]}")

    def await_whole(self) -> None:
        wait_until("every range is whole", 60, lambda: self.cluster.whole(), 0.5)
