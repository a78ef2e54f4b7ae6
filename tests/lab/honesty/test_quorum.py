# SPDX-License-Identifier: GPL-3.0-or-later
"""Quorum honesty with real processes: acknowledged means a majority has it on disk, and a lost majority says so."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cluster import Cluster, ClusterError, wait_until

CREATE = "create table if not exists {0} (id int primary key, text varchar(64))"


@pytest.fixture(scope="module")
def formed(kwbase: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes, initialised, every range whole, then killed; their stores stand beside as `saved`.

    A new cluster takes 20 s until it is whole: the tests start from copies of one.
    """
    root = tmp_path_factory.mktemp("formed")
    with Cluster(kwbase, root) as three:
        three.form(1, 2, 3)
        three.sql(CREATE.format("t"))
        wait_until("every range is whole", 60, three.whole, 0.3)
        three.kill(1, 2, 3)
        for node in three.nodes.values():
            shutil.copytree(node.store, root / "saved" / str(node.number))
        yield three


@pytest.fixture
def cluster(formed: Cluster) -> Iterator[Cluster]:
    """The three nodes, started on fresh copies of the stores, serving."""
    for node in formed.nodes.values():
        shutil.rmtree(node.store, ignore_errors=True)
        shutil.copytree(formed.root / "saved" / str(node.number), node.store)
    formed.start(1, 2, 3)
    try:
        formed.await_ready(1, 2, 3)
        wait_until("the cluster serves", 40, lambda: serves(formed), 0.3)
        yield formed
    finally:
        formed.kill(1, 2, 3)


def keys(cluster: Cluster, at: int = 1, seconds: float = 30) -> list[int]:
    """The table's keys in order."""
    return [int(row[0]) for row in cluster.sql("select id from t order by id", at=at, seconds=seconds)]


def serves(cluster: Cluster, at: int = 1) -> bool:
    """True when the node answers a read of the table."""
    try:
        keys(cluster, at, 5)
    except ClusterError:
        return False
    return True


def test_one_of_three_may_be_gone(cluster: Cluster) -> None:
    """A write is acknowledged while one node is dead, and is there on it after its return."""
    cluster.sql("insert into t values (1, 'all three')")
    cluster.kill(3)
    wait_until("nodes 1 and 2 serve", 30, lambda: serves(cluster), 0.5)
    cluster.sql("insert into t values (2, 'two of three')")
    cluster.start(3)
    cluster.await_ready(3)
    wait_until("node 3 serves", 30, lambda: serves(cluster, 3), 0.5)
    assert keys(cluster, at=3) == [1, 2]


def test_nothing_is_acknowledged_without_majority(cluster: Cluster) -> None:
    """With two of three killed neither a write nor a read succeeds; with them back every acknowledged row is there."""
    cluster.sql("insert into t values (1, 'before')")
    cluster.kill(2, 3)
    for statement in ("insert into t values (2, 'alone')", "select id from t"):
        with pytest.raises(ClusterError):
            cluster.sql(statement, seconds=6)
    cluster.start(2, 3)
    cluster.await_ready(2, 3)
    wait_until("the cluster serves", 40, lambda: serves(cluster), 0.5)
    assert 1 in keys(cluster)
    cluster.sql("insert into t values (3, 'after')")
    assert {1, 3} <= set(keys(cluster, at=2))


def test_acknowledged_rows_survive_the_death_of_all(cluster: Cluster) -> None:
    """Killed at the same moment right after an acknowledgement, all three find the row on their disks."""
    for number in range(20):
        cluster.sql(f"insert into t values ({number}, 'x')")
    cluster.kill(1, 2, 3)
    cluster.start(1, 2, 3)
    cluster.await_ready(1, 2, 3)
    wait_until("the cluster serves", 40, lambda: serves(cluster), 0.5)
    assert keys(cluster) == list(range(20))


def test_a_minority_may_lose_its_store(cluster: Cluster) -> None:
    """One emptied store loses nothing; the node comes back under a new id, and the old id's row stays."""
    cluster.sql("insert into t values (1, 'kept')")
    cluster.kill(3)
    cluster.wipe(3)
    cluster.start(3)
    wait_until("nodes 1 and 2 serve", 30, lambda: serves(cluster), 0.5)
    assert keys(cluster) == [1]
    cluster.await_ready(3)
    address = cluster.nodes[3].sql

    def rows() -> list[list[str]]:
        table = "kwdb_internal.gossip_nodes"
        return cluster.sql(f"select node_id, is_live from {table} where address = '{address}' order by 1")

    wait_until("two rows with one address", 40, lambda: [row[1] for row in rows()] == ["false", "true"])
    assert [row[0] for row in rows()] == ["3", "4"]


def test_a_majority_that_lost_its_stores_is_not_hidden(cluster: Cluster) -> None:
    """Two of three stores emptied: the rows are gone, no read says that the table is merely empty, `init` refuses."""
    cluster.sql("insert into t values (1, 'lost')")
    cluster.kill(2, 3)
    for number in (2, 3):
        cluster.wipe(number)
    cluster.start(2, 3)
    for number in (1, 2, 3):
        with pytest.raises(ClusterError):
            keys(cluster, at=number, seconds=6)
    done = cluster.cli("init", at=1, seconds=6)
    assert done.returncode != 0
    assert "already been initialized" in done.stderr


def test_a_stale_node_does_not_answer_alone(cluster: Cluster) -> None:
    """A node that missed a write and is then alone must not serve the old state."""
    cluster.sql("insert into t values (1, 'old')")
    cluster.kill(3)
    wait_until("nodes 1 and 2 serve", 30, lambda: serves(cluster), 0.5)
    cluster.sql("update t set text = 'new' where id = 1")
    cluster.kill(1, 2)
    cluster.start(3)
    with pytest.raises(ClusterError):
        cluster.sql("select text from t", at=3, seconds=6)
    cluster.start(1, 2)
    cluster.await_ready(1, 2)
    wait_until("the cluster serves", 40, lambda: serves(cluster, 3), 0.5)
    assert cluster.sql("select text from t", at=3) == [["new"]]


def test_a_paused_leader_does_not_serve_what_was_overwritten(cluster: Cluster) -> None:
    """A node stopped (SIGSTOP) while the others write answers nothing stale when it goes on."""
    cluster.sql("insert into t values (1, 'old')")
    paused = cluster.nodes[1].process
    assert paused is not None
    paused.send_signal(signal.SIGSTOP)
    try:
        wait_until("nodes 2 and 3 serve", 40, lambda: serves(cluster, 2), 0.5)
        cluster.sql("update t set text = 'new' where id = 1", at=2)
    finally:
        paused.send_signal(signal.SIGCONT)
    wait_until("node 1 serves again", 40, lambda: serves(cluster, 1), 0.2)
    assert cluster.sql("select text from t", at=1) == [["new"]]
