# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The table of gates that plans, refusals, the option C(waive) and docs/gates.md share. How each is judged is in gates.py. PRIVATE to the collection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """A gate's entry in the table that the documentation shows.

    why_not: why it cannot be waived; empty where it can. mends: whether it mends itself, so that a run waits for it before it refuses,
    as long as something moves. figures: whether it does so as long as its value is unknown: its figures come by themselves.
    """

    name: str
    before: str
    text: str
    why_not: str = ""
    mends: bool = False
    figures: bool = False


RULES = (
    Rule(
        "engine_answers",
        "scale in, upgrade, replace, drain, finalise",
        "a database node answers `node status`",
        "nothing else could be judged",
    ),
    Rule(
        "nodes_live",
        "scale in, upgrade, drain, finalise",
        "every node that belongs to the cluster is live and available in the engine's own view",
    ),
    Rule(
        "nodes_settled",
        "scale in, upgrade, drain, finalise",
        "no node is joining, leaving or upgrading, but the one this step is about",
        mends=True,
    ),
    Rule(
        "ranges_unavailable",
        "scale in, upgrade, replace, drain, finalise",
        "no range is without a live majority",
        "taking a node away could lose data",
    ),
    Rule(
        "ranges_underreplicated",
        "scale in, upgrade, drain",
        "no range has fewer live replicas than the allocator keeps",
        mends=True,
    ),
    Rule(
        "ranges_steady",
        "scale in, upgrade, drain",
        "all ranges are whole in two readings as far apart as a dead node still counts as live (15 s), with nothing restarted between",
        mends=True,
    ),
    Rule(
        "node_dead",
        "replace",
        "the database node is not live in the engine's own view, or was decommissioned and holds no range",
        "one that lives leaves by its decommission, which moves its replicas first",
        figures=True,  # one that died just now counts as live for some seconds more
    ),
    Rule(
        "process_ended",
        "replace",
        "its process can never come back beside the new one: its Kubernetes node is gone, out of service or answers, or `lost` says so",
        "`lost: true` is the way to say it",
    ),
    Rule(
        "majority_steady",
        "replace",
        "every range has had a live majority in two readings as far apart as a dead node still counts as live (15 s)",
        "a node that died just now would still count",
        mends=True,
    ),
    Rule(
        "jobs_running", "scale in, upgrade, drain", "no schema change, import, restore or backup is running", mends=True
    ),
    Rule(
        "claims_kept",
        "upgrade, drain",
        "every pod's claim is there and not being deleted",
        "the pod would come back without its store",
    ),
    Rule(
        "majority_kept",
        "drain",
        "every range keeps a live majority while the node is away",
        "what it holds alone could not be read or written for the whole window",
    ),
    Rule(
        "nodes_needed",
        "scale in",
        "as many nodes remain as the widest zone needs to keep its replicas (three at least)",
        "decommissioning below it never ends",
    ),
    Rule(
        "zone_constraints",
        "scale in",
        "no zone requires replicas on nodes of which too few would remain",
        "decommissioning such a node never ends",
    ),
    Rule("one_node", "scale in", "exactly one live node has the pod's address", "the wrong node might be emptied"),
    Rule(
        "space",
        "scale in",
        "the live nodes that stay can take the leaving nodes' bytes before their disks are 85 % full, whoever fills them",
        figures=True,
    ),
    Rule(
        "rollout_idle",
        "scale in",
        "no new template of the StatefulSet is half rolled out",
        "two changes at once could break the quorum",
    ),
    Rule(
        "emptied",
        "scale in, when the pod goes; a decommissioned node's store, before it is put aside or erased",
        "no range has a replica on the node by its own list, whatever the counters say",
        "its replicas would go with it",
    ),
    Rule(
        "version_path",
        "upgrade",
        "the database may go from the version it runs to the one asked for",
        "the data could not be read afterwards",
    ),
    Rule(
        "setting_lasts",
        "upgrade, where the way between the versions needs a setting",
        "it has had its value for as long as the product says (`ts.raft_log.sync_period` five minutes, before 3.2)",
        "what was written before it could be lost",
        mends=True,
    ),
    Rule(
        "image_pullable",
        "upgrade, after the pre-pull",
        "the new image ran on every Kubernetes node that needs it and whose pod is ready (`pre_pull: false` leaves it out)",
        "a pod that went down would not come back",
        mends=True,  # by the step before it
    ),
    Rule(
        "template_expected",
        "upgrade with options",
        "the API server's dry run changes only those fields of the pods that the options asked for stand for",
    ),
    Rule(
        "one_build",
        "finalise",
        "every node runs the release that is finalised",
        "an older node could not read its store any more",
    ),
    Rule(
        "never_initialised",
        "initialise",
        "no trace of an earlier initialisation: no ready pod, no id in journal, claims or volumes",
        "a second `init` makes a second cluster",
    ),
    Rule(
        "confirmed",
        "remove",
        "`confirm` repeats the cluster's name; judged before any request",
        "it is the question itself",
    ),
    Rule(
        "protected",
        "remove",
        "the cluster holds no tables of its users, or `deletion_protection` is false",
        "`deletion_protection: false` is the way to say it",
    ),
)
BY_NAME = {rule.name: rule for rule in RULES}
WAIVABLE = tuple(rule.name for rule in RULES if not rule.why_not)
