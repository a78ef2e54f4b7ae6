# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What hands did to the cluster's objects with kubectl: mended by the next run, without a restart. Three nodes."""

from __future__ import annotations

from collections.abc import Callable

from kindlab import until

from .stage import NAME, SHAPES, Shape, Stage, misoperation

SHAPES["hands"] = Shape(3)
OPTIONS = "kaiwudb.kubernetes/options"
INSTANCE = "app.kubernetes.io/instance"
RESTARTED_NOTHING = "no pod was restarted"
NOTHING_DOES = "done; no pod was restarted; 3 nodes of 3.2.1"


def mended(stage: Stage, **options: object) -> None:
    """The usual run; then the same pods as before it."""
    before = stage.place.uids(NAME)
    stage.asks(**options)
    stage.sees(RESTARTED_NOTHING, lambda: stage.place.uids(NAME) == before)
    stage.notes_state()


def again(stage: Stage, what: str, holds: Callable[[], object]) -> None:
    """As `mended`; and what was broken is as it was."""
    mended(stage)
    stage.sees(what, holds)


@misoperation(f"{NOTHING_DOES}; SQL answers outside", stage="hands", disturbs=True)
def the_service_s_selector_edited(stage: Stage) -> None:
    """The public Service selects nobody any more."""
    stage.hand(
        "patch", "service", f"{NAME}-public", "--type=merge", '--patch={"spec": {"selector": {"wrong": "label"}}}'
    )
    again(stage, "SQL answers outside", lambda: acknowledges(stage))


@misoperation(f"{NOTHING_DOES}; SQL answers outside", stage="hands", disturbs=True)
def the_service_deleted(stage: Stage) -> None:
    """The public Service is gone."""
    stage.hand("delete", "service", f"{NAME}-public")
    again(stage, "SQL answers outside", lambda: acknowledges(stage))


def acknowledges(stage: Stage) -> bool:
    """Whether the workload gets through from here on."""
    assert stage.workload is not None
    before = int(str(stage.workload.status()["acknowledged"]))
    return stage.workload.await_rows(before + 20, 10)


@misoperation(NOTHING_DOES, stage="hands", disturbs=True)
def the_headless_service_deleted(stage: Stage) -> None:
    """The Service that gives the pods their names is gone."""
    stage.hand("delete", "service", NAME)
    mended(stage)


@misoperation(f"{NOTHING_DOES}; the budget is back", stage="hands")
def the_budget_deleted(stage: Stage) -> None:
    """The PodDisruptionBudget is gone."""
    stage.hand("delete", "poddisruptionbudget", f"{NAME}-budget")
    again(stage, "the budget is back", lambda: stage.place.get("poddisruptionbudget", f"{NAME}-budget"))


@misoperation(NOTHING_DOES, stage="hands")
def the_account_deleted(stage: Stage) -> None:
    """The pods' ServiceAccount is gone."""
    stage.hand("delete", "serviceaccount", NAME)
    mended(stage)


@misoperation(f"{NOTHING_DOES}; the same cluster id", stage="hands")
def the_journal_deleted(stage: Stage) -> None:
    """The ConfigMap of the journal is gone."""
    known = stage.place.journal(NAME)["cluster_id"]
    stage.hand("delete", "configmap", f"{NAME}-journal")
    again(stage, "the same cluster id", lambda: stage.place.journal(NAME)["cluster_id"] == known)


@misoperation(f"{NOTHING_DOES}; the same cluster id", stage="hands")
def nonsense_in_the_journal(stage: Stage) -> None:
    """Somebody wrote nonsense into the journal."""
    known = stage.place.journal(NAME)["cluster_id"]
    stage.hand("patch", "configmap", f"{NAME}-journal", "--type=merge", '--patch={"data": {"journal": "}{ nonsense"}}')
    again(stage, "the same cluster id", lambda: stage.place.journal(NAME)["cluster_id"] == known)


@misoperation(
    "refused: operation_not_allowed; no pod was restarted; 3 nodes of 3.2.1",
    "refused: invalid_option; no pod was restarted; 3 nodes of 3.2.1",
    NOTHING_DOES,
    stage="hands",
)
def nonsense_in_the_options(stage: Stage) -> None:
    """Somebody wrote nonsense into the annotation that remembers the options; the next run gives them all."""
    stage.hand("annotate", "statefulset", NAME, f"{OPTIONS}=nonsense", "--overwrite")
    mended(stage)


@misoperation(
    "refused: invalid_option; no pod was restarted; 3 nodes of 3.2.1; SQL answers outside",
    "nothing to do; no pod was restarted; 3 nodes of 3.2.1; SQL answers outside",
    "done; no pod was restarted; 3 nodes of 3.2.1; SQL answers outside",  # from the journal's copy
    stage="hands",
)
def nonsense_in_the_options_and_nothing_said(stage: Stage) -> None:
    """The same; the next run names the cluster and nothing else, so that nobody knows how it should be."""
    stage.hand("annotate", "statefulset", NAME, f"{OPTIONS}=nonsense", "--overwrite")
    nothing = dict.fromkeys(set(stage.place.defaults) - {"namespace", "waive"})
    mended(stage, **nothing)
    stage.sees("SQL answers outside", lambda: acknowledges(stage))


@misoperation("nothing to do; no pod was restarted; 3 nodes of 3.2.1", stage="hands")
def the_lock_deleted(stage: Stage) -> None:
    """The Lease is gone while nobody works."""
    stage.hand("delete", "lease", f"{NAME}-lock")
    mended(stage)


@misoperation(NOTHING_DOES, stage="hands")
def the_statefulset_deleted_pods_left(stage: Stage) -> None:
    """The StatefulSet is deleted, its pods orphaned."""
    stage.hand("delete", "statefulset", NAME, "--cascade=orphan")
    mended(stage)


@misoperation("done; the same cluster id; 3 nodes of 3.2.1", stage="hands", disturbs=True)
def the_statefulset_deleted(stage: Stage) -> None:
    """The StatefulSet is deleted with its pods."""
    known = stage.place.journal(NAME)["cluster_id"]
    stage.hand("delete", "statefulset", NAME)
    until("the pods are gone", lambda: not stage.place.pods(NAME), 90)
    stage.asks()
    stage.sees("the same cluster id", lambda: stage.place.journal(NAME)["cluster_id"] == known)
    stage.notes_state()


@misoperation("done; 4 nodes of 3.2.1; done; 3 nodes of 3.2.1", stage="hands")
def labels_of_claims_and_volumes_removed(stage: Stage) -> None:
    """Claims and volumes lose their labels; then a node is added and taken away."""
    space = stage.place.namespace
    for ordinal in range(3):
        stage.hand(
            "label", "persistentvolumeclaim", f"datadir-{NAME}-{ordinal}", f"{INSTANCE}-", "app.kubernetes.io/name-"
        )
        stage.hand("label", "persistentvolume", f"{space}.{NAME}-{ordinal}", f"{INSTANCE}-", "app.kubernetes.io/name-")
    stage.asks(replicas="4")
    stage.notes_state()
    stage.asks(replicas="3")
    stage.notes_state()


@misoperation("done; 3 nodes of 3.2.1", stage="hands", disturbs=True)
def a_pod_s_labels_edited(stage: Stage) -> None:
    """A pod loses its label: Services and StatefulSet let it go, and its name stays taken."""
    stage.hand("label", "pod", f"{NAME}-1", f"{INSTANCE}=somebody", "--overwrite")
    stage.asks()
    stage.notes_state()


@misoperation(
    "refused: foreign_object; 3 nodes of 3.2.1",
    stage="hands",
    human="only a person can say whose a relabelled Service is",
)
def a_service_s_labels_edited(stage: Stage) -> None:
    """The public Service is labelled as another cluster's."""
    stage.hand("label", "service", f"{NAME}-public", f"{INSTANCE}=somebody", "--overwrite")
    stage.asks()
    stage.notes_state()
    stage.hand("label", "service", f"{NAME}-public", f"{INSTANCE}={NAME}", "--overwrite")  # the person


@misoperation("done; 3 nodes of 3.2.1", "nothing to do; 3 nodes of 3.2.1", stage="hands", disturbs=True)
def two_pods_killed(stage: Stage) -> None:
    """Force-delete two of three pods at once."""
    stage.hand("delete", "pod", f"{NAME}-1", f"{NAME}-2", "--force", "--grace-period=0")
    stage.asks()
    stage.notes_state()


@misoperation("done; 3 nodes of 3.2.1", "nothing to do; 3 nodes of 3.2.1", stage="hands")
def a_volume_deleted(stage: Stage) -> None:
    """Delete a volume in use: it stays, Terminating, as long as its claim does."""
    stage.hand("delete", "persistentvolume", f"{stage.place.namespace}.{NAME}-2", "--wait=false")
    stage.asks()
    stage.notes_state()
