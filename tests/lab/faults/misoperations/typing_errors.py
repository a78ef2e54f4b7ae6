# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What is typed wrongly, or asked of the wrong job: refused before anything is touched."""

from __future__ import annotations

import json

from kindlab import CRASH_IMAGE, KUBECONFIG, UPGRADE_IMAGE, Place, kubectl

from .stage import NAME, SHAPES, Shape, Stage, misoperation


def _foreign(place: Place) -> None:
    """Objects of somebody else's that are called as ours would be."""
    kubectl("--namespace", place.namespace, "create", "service", "clusterip", "foreign-public", "--tcp=80")


SHAPES["typing"] = Shape(3, {"anti_affinity": "required"}, prepare=_foreign)


@misoperation("refused: invalid_option", stage="typing", quick=True)
def to_two(stage: Stage) -> None:
    """Scale three nodes to 2."""
    stage.asks(replicas="2")


@misoperation("refused: invalid_option", stage="typing", quick=True)
def to_one(stage: Stage) -> None:
    """Scale three nodes to 1."""
    stage.asks(replicas="1")


@misoperation("refused: invalid_option", stage="typing", quick=True)
def to_none(stage: Stage) -> None:
    """Scale three nodes to 0."""
    stage.asks(replicas="0")


@misoperation("refused: invalid_option", stage="typing")
def to_a_single_node(stage: Stage) -> None:
    """Make a cluster a single node."""
    stage.asks(single_node="true", replicas=None)


@misoperation("refused: no_node", stage="typing", quick=True)
def to_more_nodes_than_there_are(stage: Stage) -> None:
    """Scale to nine on four workers, never two on one."""
    stage.asks(replicas="9")


@misoperation("refused: invalid_option", stage="typing", quick=True)
def remove_without_confirm(stage: Stage) -> None:
    """Remove the cluster without its name typed again."""
    stage.asks(state="absent", deletion_protection="false")


@misoperation("refused: invalid_option", stage="typing")
def remove_another_name(stage: Stage) -> None:
    """Remove the cluster, the name of another one typed."""
    stage.asks(state="absent", confirm="kx", deletion_protection="false")


@misoperation("refused: protected", stage="typing", quick=True)
def remove_with_tables(stage: Stage) -> None:
    """Remove a cluster that holds tables, protection as it comes."""
    stage.asks(state="absent", confirm=NAME)


@misoperation("refused: operation_not_allowed", stage="typing")
def remove_by_the_scale_job(stage: Stage) -> None:
    """Remove it by a job that may scale only."""
    stage.asks(state="absent", confirm=NAME, deletion_protection="false", operations=["scale_in"])


@misoperation("refused: operation_not_allowed", stage="typing", quick=True)
def upgrade_by_the_scale_job(stage: Stage) -> None:
    """Another image, by a job that may scale only."""
    stage.asks(image=UPGRADE_IMAGE, operations=["scale_out", "scale_in"])


@misoperation("refused: operation_not_allowed", stage="typing")
def scale_by_the_upgrade_job(stage: Stage) -> None:
    """A fourth node, by a job that may upgrade only."""
    stage.asks(replicas="4", operations=["upgrade"])


@misoperation("refused: invalid_option", stage="typing", quick=True)
def waive_what_cannot_be_waived(stage: Stage) -> None:
    """Waive the gate that counts the nodes needed."""
    stage.asks(replicas="3", waive=["nodes_needed"])


@misoperation("refused: invalid_option", stage="typing")
def waive_what_is_no_gate(stage: Stage) -> None:
    """Waive a gate that does not exist."""
    stage.asks(waive=["everything"])


@misoperation("refused: invalid_option", stage="typing", quick=True)
def shrink_the_storage(stage: Stage) -> None:
    """Half the size of the volumes."""
    stage.asks(storage_size="512Mi")


@misoperation("refused: invalid_option", stage="typing")
def another_port(stage: Stage) -> None:
    """Another SQL port on a live cluster."""
    stage.asks(sql_port="26300")


@misoperation("refused: invalid_option", stage="typing")
def an_image_without_a_tag(stage: Stage) -> None:
    """An image without tag and digest."""
    stage.asks(image=UPGRADE_IMAGE.split(":", 1)[0])


@misoperation("refused: version_path", stage="typing", quick=True)
def back_to_version_2(stage: Stage) -> None:
    """From 3.2 to an image of 2.2."""
    stage.asks(image="kwdb/kwdb:2.2.0")


@misoperation("refused: api_configinvalid", stage="typing", quick=True)
def a_context_that_is_not_there(stage: Stage) -> None:
    """A context that the kubeconfig does not hold."""
    stage.asks(context="production")


@misoperation("refused: api_wrongserver", stage="typing", quick=True)
def the_wrong_server(stage: Stage) -> None:
    """The kubeconfig of another Kubernetes cluster than the one expected."""
    stage.asks(expect_server="https://production.example:6443")


@misoperation("refused: namespace_missing", stage="typing")
def a_namespace_that_is_not_there(stage: Stage) -> None:
    """A namespace mistyped."""
    stage.asks(namespace="t-there-is-none")


@misoperation("refused: namespace_missing", stage="typing", quick=True)
def a_namespace_being_deleted(stage: Stage) -> None:
    """Deploy into a namespace that is on its way out."""
    space = f"{stage.place.namespace}-out"
    kubectl("create", "namespace", space)
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["lab.example/held"]}}
    kubectl("--namespace", space, "create", "--filename=-", stdin=json.dumps(held))
    try:
        kubectl("delete", "namespace", space, "--wait=false")
        stage.asks(namespace=space, kubeconfig=str(KUBECONFIG))
    finally:
        free = '--patch={"metadata": {"finalizers": null}}'
        kubectl("--namespace", space, "patch", "configmap", "held", "--type=merge", free)


@misoperation("refused: foreign_object", stage="typing", quick=True)
def a_name_that_is_taken(stage: Stage) -> None:
    """A second cluster, whose Service's name somebody else's Service has."""
    stage.asks("foreign")


@misoperation("refused: unknown_node", stage="typing", quick=True)
def decommission_an_unknown_node(stage: Stage) -> None:
    """Decommission a pod that does not exist."""
    stage.decommission(f"{NAME}-9")


@misoperation("refused: invalid_option", stage="typing")
def decommission_a_node_of_another_cluster(stage: Stage) -> None:
    """Decommission a pod of the cluster with a longer name."""
    stage.decommission(f"{NAME}-9-1")


@misoperation("refused: nodes_needed", stage="typing", quick=True)
def decommission_one_of_three(stage: Stage) -> None:
    """Decommission one of three nodes."""
    stage.decommission("1")


@misoperation("nothing to do", stage="typing")
def recommission_a_live_node(stage: Stage) -> None:
    """Take back a node that never left."""
    stage.decommission("1", state="active")


@misoperation("nothing to do", stage="typing")
def initialize_again(stage: Stage) -> None:
    """Run the initialisation once more."""
    stage.asks(operations=["initialize"])


@misoperation("already initialised; nothing to do", stage="typing")
def initialize_by_hand(stage: Stage) -> None:
    """Type `init` in a pod of a cluster that lives."""
    said = stage.place.exec(f"{NAME}-1", "sh", "-c", "timeout 20 /kaiwudb/bin/kwbase init --insecure 2>&1 || true")
    stage.note("already initialised" if "already" in said else said)
    stage.asks()


@misoperation(
    "done; refused: paused; refused: paused; refused: paused; done; nothing to do", stage="typing", quick=True
)
def work_on_a_paused_cluster(stage: Stage) -> None:
    """Mark the cluster as paused, forget it, and start three other jobs on it."""
    stage.asks(paused="true")
    stage.asks(image=UPGRADE_IMAGE)
    stage.asks(replicas="4")
    stage.asks(state="absent", confirm=NAME, deletion_protection="false")
    stage.asks(paused="false")
    stage.asks()


@misoperation("stopped: container_crash", "refused: container_crash", stage="typing")
def an_image_that_crashes(stage: Stage) -> None:
    """Upgrade to a release that does not start."""
    stage.asks(image=CRASH_IMAGE)
