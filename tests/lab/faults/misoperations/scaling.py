# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Growing and shrinking at the wrong moment, or past the collection. Five nodes, replication factor 3."""

from __future__ import annotations

from kindlab import UPGRADE_IMAGE, store_of, until

from .stage import NAME, SHAPES, Shape, Stage, misoperation

SHAPES["scaling"] = Shape(5, {"locality": "none"})  # each node is a region of its own: a zone can need a single one
IN_A_MOMENT = "15"  # seconds after which a run is told to end where it is


def leaving(stage: Stage, replicas: int) -> None:
    """A decommission in the middle: the node is marked, nothing moves, and the run has ended. On a busy machine that takes another run."""
    stage.stuck(True)
    already = list(stage.seen)

    def marked() -> bool:
        stage.seen = list(already)
        stage.asks(replicas=str(replicas), max_runtime=IN_A_MOMENT)
        return stage.node(replicas).get("is_decommissioning") == "true"

    until("the node is leaving", marked, 120)


@misoperation("unfinished; done; 3 nodes of 3.2.1", stage="scaling")
def further_down_while_one_leaves(stage: Stage) -> None:
    """While the fifth node leaves, ask for three."""
    leaving(stage, 4)
    stage.stuck(False)
    stage.asks(replicas="3")
    stage.notes_state()


@misoperation("unfinished; done; node 5 as before; 5 nodes of 3.2.1", stage="scaling")
def back_up_while_one_leaves(stage: Stage) -> None:
    """While the fifth node leaves, ask for five again."""
    before = stage.node(4)["id"]
    leaving(stage, 4)
    stage.asks(replicas="5")
    stage.sees("node 5 as before", lambda: stage.node(4).get("id") == before)
    stage.notes_state()


@misoperation("unfinished; done; 6 nodes of 3.2.1", stage="scaling")
def further_up_while_one_leaves(stage: Stage) -> None:
    """While the fifth node leaves, ask for six."""
    leaving(stage, 4)
    stage.asks(replicas="6")
    stage.notes_state()


@misoperation(
    "unfinished; refused: operation_not_allowed",
    "unfinished; refused: nodes_settled",
    "unfinished; stopped: nodes_settled",
    stage="scaling",
)
def upgrade_job_while_one_leaves(stage: Stage) -> None:
    """While the fifth node leaves, start the job that may only upgrade."""
    leaving(stage, 4)
    stage.asks(image=UPGRADE_IMAGE, operations=["upgrade"])


@misoperation("unfinished; done; 4 nodes of 3.2.2", stage="scaling")
def upgrade_while_one_leaves(stage: Stage) -> None:
    """While the fifth node leaves, ask for another image and name no number."""
    leaving(stage, 4)
    stage.stuck(False)
    stage.asks(image=UPGRADE_IMAGE)
    stage.notes_state()


@misoperation("unfinished; unfinished; done; 4 nodes of 3.2.1", stage="scaling")
def stop_and_go_on(stage: Stage) -> None:
    """Stop a scale-in by its time limit twice, and let the third run end it."""
    leaving(stage, 4)
    stage.asks(replicas="4", max_runtime=IN_A_MOMENT)
    stage.stuck(False)
    stage.asks(replicas="4")
    stage.notes_state()


@misoperation("stopped: locked; unfinished; done; 5 nodes of 3.2.1", stage="scaling")
def decommission_beside_a_scale_in(stage: Stage) -> None:
    """While a run scales in, decommission another node by the other module."""
    stage.stuck(True)
    working = stage.begins(replicas="4", max_runtime="40")
    until("the node is leaving", lambda: stage.node(4).get("is_decommissioning") == "true", 40)
    other = stage.place.start(NAME, module="kaiwudb.kubernetes.kaiwudb_node_decommission", node="1")
    stage.operations += 1
    stage.ends(other)
    stage.ends(working)
    stage.asks(replicas="5")
    stage.notes_state()


@misoperation("stalled after it began; done; 5 nodes of 3.2.1", stage="scaling")
def a_decommission_that_stalls(stage: Stage) -> None:
    """Nothing moves off the leaving node; the run gives up, and the operator takes the order back."""
    stage.stuck(True)
    result = stage.place.run(NAME, replicas="4", stall_timeout="15")
    stage.operations += 1
    stage.note("stalled after it began" if result.data.get("reason") == "stalled" else result.msg)
    stage.asks(replicas="5")
    stage.notes_state()


@misoperation("refused: nodes_live; 5 asked, 5 pods", stage="scaling", disturbs=True)
def scale_in_with_a_dead_node(stage: Stage) -> None:
    """A node is dead; ask for four."""
    stage.breaks(1)
    stage.asks(replicas="4")
    stage.note(", ".join(stage.state().split(", ")[:2]).rsplit(" of ", 1)[0])


@misoperation("refused: ranges_underreplicated", "refused: nodes_settled", stage="scaling", disturbs=True)
def scale_in_with_a_dead_node_waived(stage: Stage) -> None:
    """A node is dead and its gate is waived; ask for four."""
    stage.breaks(1)
    stage.asks(replicas="4", waive=[*stage.place.defaults.get("waive", ()), "nodes_live"])


@misoperation("refused: nodes_live", stage="scaling", disturbs=True)
def decommission_with_a_dead_node(stage: Stage) -> None:
    """A node is dead; decommission another."""
    stage.breaks(1)
    stage.decommission("2")


@misoperation("done; refused: paused; done; 5 nodes of 3.2.1", stage="scaling")
def decommission_on_a_paused_cluster(stage: Stage) -> None:
    """Mark the cluster as paused and decommission a node by the other module."""
    stage.asks(paused="true")
    stage.decommission("4")
    stage.asks(paused="false")
    stage.notes_state()


@misoperation("refused: ranges_underreplicated; 5 nodes of 3.2.1", stage="scaling")
def scale_in_with_a_range_that_lacks_a_replica(stage: Stage) -> None:
    """A range has two replicas and gets no third; ask for four."""
    found = stage.query("SELECT range_id, replicas FROM kwdb_internal.ranges_no_leases WHERE table_name = 't00'")
    holder = found[0][1].strip('"{}').split(",")[0]
    stage.lab(f"SET CLUSTER SETTING lab.replica_away = '{found[0][0]}:{holder}'")
    until("the range lacks a replica", lambda: any(len(ids) < 3 for ids in stage.look().ranges), 60)
    stage.asks(replicas="4")
    stage.notes_state()


@misoperation("refused: jobs_running; 5 nodes of 3.2.1", stage="scaling")
def scale_in_during_a_schema_change(stage: Stage) -> None:
    """A schema change is running; ask for four."""
    stage.lab("SET CLUSTER SETTING lab.running_job = 'SCHEMA CHANGE'")
    stage.asks(replicas="4")
    stage.notes_state()


@misoperation("refused: zone_constraints; 5 nodes of 3.2.1; done; 4 nodes of 3.2.1", stage="scaling")
def scale_in_a_node_that_a_zone_needs(stage: Stage) -> None:
    """A user's zone requires replicas on the fifth node; ask for four, drop the zone, and ask again."""
    region = f"[+region=NODE{stage.node(4)['id']}]"
    stage.query(f"ALTER TABLE workload.t00 CONFIGURE ZONE USING constraints = '{region}'")
    try:
        stage.asks(replicas="4")
        stage.notes_state()
    finally:
        stage.query("ALTER TABLE workload.t00 CONFIGURE ZONE DISCARD")
    stage.asks(replicas="4")
    stage.notes_state()


@misoperation("done; done; 5 nodes of 3.2.1; 5 replicas again", stage="scaling")
def scale_in_with_a_zone_as_wide_as_the_cluster(stage: Stage) -> None:
    """A table keeps five replicas on five nodes; ask for four, which keep three of them, and for five again."""
    stage.query("ALTER TABLE workload.t00 CONFIGURE ZONE USING num_replicas = 5")
    try:
        stage.asks(replicas="4")
        stage.asks(replicas="5")
        stage.notes_state()
        stage.sees("5 replicas again", lambda: max(map(len, stage.look().ranges)) == 5, 60)
    finally:
        stage.query("ALTER TABLE workload.t00 CONFIGURE ZONE DISCARD")


@misoperation("done; nothing to do; done; 5 nodes of 3.2.1", stage="scaling")
def decommission_one_node_twice(stage: Stage) -> None:
    """Decommission the fifth node twice, then take it back."""
    stage.decommission("4")
    stage.decommission("4")
    stage.decommission("4", state="active")
    stage.notes_state()


@misoperation(
    "done; refused: nodes_settled; done; 5 nodes of 3.2.1",
    "done; refused: nodes_needed; done; 5 nodes of 3.2.1",
    stage="scaling",
)
def decommission_not_the_highest(stage: Stage) -> None:
    """Decommission the second node and then ask for one pod fewer, which would take the fifth too."""
    stage.decommission("1")
    stage.asks(replicas="4")
    stage.decommission("1", state="active")
    stage.notes_state()


@misoperation("done; nothing to do; refused: node_gone; 4 nodes of 3.2.1", stage="scaling")
def decommission_a_node_of_the_past(stage: Stage) -> None:
    """Decommission a node that has left, by its id, and take it back."""
    old = stage.node(4)["id"]
    stage.asks(replicas="4")
    stage.decommission(f"id={old}")
    stage.decommission(f"id={old}", state="active")
    stage.notes_state()


@misoperation("leaving; nothing to do; done; 5 nodes of 3.2.1", stage="scaling")
def decommission_by_hand(stage: Stage) -> None:
    """Type `node decommission` for the fifth node past the collection, run the usual job, then take the node back."""
    row = stage.node(4)
    stage.faults += 1
    stage.place.exec(
        f"{NAME}-0",
        "timeout",
        "20",
        "/kaiwudb/bin/kwbase",
        "node",
        "decommission",
        row["id"],
        "--wait=none",
        "--insecure",
    )
    stage.sees("leaving", lambda: stage.node(4).get("is_decommissioning") == "true")
    stage.asks(replicas="5")
    stage.decommission("4", state="active")
    stage.notes_state()


@misoperation("done; refused: store_retired; done; a new node; 5 nodes of 3.2.1", stage="scaling")
def grow_onto_a_retired_store(stage: Stage) -> None:
    """Shrink with the volume kept, grow again the same way; then with the old store put aside."""
    old = stage.node(4)["id"]
    stage.asks(replicas="4", volumes="retain")
    stage.asks(replicas="5", volumes="retain")
    stage.asks(replicas="5", volumes="archive")
    stage.sees("a new node", lambda: int(stage.node(4).get("id", "0")) > int(old))
    stage.notes_state()


@misoperation("done; 5 nodes of 3.2.1", stage="scaling")
def grown_by_kubectl(stage: Stage) -> None:
    """`kubectl scale` to six; the next run still asks for five."""
    stage.hand("scale", "statefulset", NAME, "--replicas=6")
    until("the sixth pod exists", lambda: f"{NAME}-5" in stage.place.pods(NAME))
    stage.asks(replicas="5")
    stage.notes_state()


@misoperation("done; whose store it is, is noted; nothing to do; 6 nodes of 3.2.1", stage="scaling")
def grown_by_kubectl_and_wanted(stage: Stage) -> None:
    """`kubectl scale` to six, and six it shall be."""
    stage.hand("scale", "statefulset", NAME, "--replicas=6")
    until("the sixth pod exists", lambda: f"{NAME}-5" in stage.place.pods(NAME))
    stage.asks(replicas="6")
    volume = stage.place.volume(NAME, 5)
    assert volume is not None
    stage.sees("whose store it is, is noted", lambda: str(store_of(volume).get("node_id")) == stage.node(5)["id"])
    stage.asks(replicas="6")
    stage.notes_state()


def _shrink(stage: Stage, replicas: int) -> None:
    stage.hand("scale", "statefulset", NAME, f"--replicas={replicas}")
    until("the pods are gone", lambda: len(stage.place.pods(NAME)) == replicas, 90)


@misoperation("done; node 5 as before; 5 nodes of 3.2.1", stage="scaling", disturbs=True)
def shrunk_by_kubectl(stage: Stage) -> None:
    """`kubectl scale` to four, no decommission; the next run still asks for five."""
    old = stage.node(4)["id"]
    _shrink(stage, 4)
    stage.asks(replicas="5")
    stage.sees("node 5 as before", lambda: stage.node(4).get("id") == old)
    stage.notes_state()


@misoperation("done; the node that went holds nothing; 4 nodes of 3.2.1", stage="scaling", disturbs=True)
def shrunk_by_kubectl_and_wanted(stage: Stage) -> None:
    """`kubectl scale` to four, no decommission, and four it shall be."""
    old = stage.node(4)["id"]
    _shrink(stage, 4)
    stage.asks(replicas="4")
    stage.sees("the node that went holds nothing", lambda: not any(old in ids for ids in stage.look().ranges))
    stage.notes_state()


@misoperation("done; 5 nodes of 3.2.1", stage="scaling", disturbs=True)
def shrunk_to_two_by_kubectl(stage: Stage) -> None:
    """`kubectl scale` to two: three of five nodes gone at once; the next run asks for five."""
    _shrink(stage, 2)
    stage.asks(replicas="5")
    stage.notes_state()


@misoperation("done; 5 nodes of 3.2.1", stage="scaling", disturbs=True)
def shrunk_to_none_by_kubectl(stage: Stage) -> None:
    """`kubectl scale` to 0; the next run asks for five."""
    _shrink(stage, 0)
    stage.asks(replicas="5")
    stage.notes_state()


@misoperation("stopped: lock_lost; done; 4 nodes of 3.2.1", "done; nothing to do; 4 nodes of 3.2.1", stage="scaling")
def the_lock_deleted_under_a_run(stage: Stage) -> None:
    """Delete the Lease of a run that is scaling in."""
    stage.stuck(True)
    working = stage.begins(replicas="4")
    until("the node is leaving", lambda: stage.node(4).get("is_decommissioning") == "true", 60)
    stage.hand("delete", "lease", f"{NAME}-lock")
    until("the lock is found missing", lambda: not working.running or stage.place.get("lease", f"{NAME}-lock"), 60)
    stage.stuck(False)
    stage.ends(working)
    stage.asks(replicas="4")
    stage.notes_state()
