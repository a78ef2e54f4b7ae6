# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Other images at the wrong moment, or past the collection. Four nodes."""

from __future__ import annotations

from kindlab import CRASH_IMAGE, IMAGE, UPGRADE_IMAGE, until

from .stage import NAME, NONE, SHAPES, Shape, Stage, misoperation

SHAPES["upgrading"] = Shape(4)


def image_of(stage: Stage, ordinal: int) -> str:
    """Image of a pod; empty while it does not exist."""
    pod = stage.place.pods(NAME).get(f"{NAME}-{ordinal}")
    return str(pod["spec"]["containers"][0]["image"]) if pod else ""


def half_upgraded(stage: Stage) -> None:
    """An upgrade in the middle: the highest pod runs the new image, the others the old, and the run has ended."""
    already = list(stage.seen)

    def half() -> bool:
        stage.seen = list(already)
        stage.asks(image=UPGRADE_IMAGE, soak="600", max_runtime="30")
        return image_of(stage, stage.shape.nodes - 1) == UPGRADE_IMAGE

    until("the highest pod is upgraded", half, 180)
    assert [image_of(stage, ordinal) for ordinal in range(3)] == [IMAGE] * 3


@misoperation("unfinished; done; 4 nodes of 3.2.1", stage="upgrading")
def the_old_image_in_the_middle(stage: Stage) -> None:
    """Half-way through an upgrade, ask for the old image."""
    half_upgraded(stage)
    stage.asks(image=IMAGE)
    stage.notes_state()


@misoperation(
    "unfinished; stopped: container_crash; done; 4 nodes of 3.2.1",
    "unfinished; refused: ranges_underreplicated; done; 4 nodes of 3.2.1",
    stage="upgrading",
    disturbs=True,
)
def another_image_in_the_middle(stage: Stage) -> None:
    """Half-way through an upgrade, ask for a third release, which does not start; then for the old one."""
    half_upgraded(stage)
    stage.asks(image=CRASH_IMAGE)
    stage.asks(image=IMAGE)
    stage.notes_state()


@misoperation("unfinished; stopped: image_pull; done; 4 nodes of 3.2.2", stage="upgrading")
def an_image_that_is_nowhere_in_the_middle(stage: Stage) -> None:
    """Half-way through an upgrade, ask for an image that does not exist; then for the first one again."""
    half_upgraded(stage)
    stage.asks(image=NONE)
    stage.asks(image=UPGRADE_IMAGE)
    stage.notes_state()


@misoperation("stopped: image_pull; no pod was touched; 4 nodes of 3.2.1", stage="upgrading")
def an_image_that_is_nowhere(stage: Stage) -> None:
    """Upgrade to an image that does not exist."""
    before = stage.place.uids(NAME)
    stage.asks(image=NONE)
    stage.sees("no pod was touched", lambda: stage.place.uids(NAME) == before)
    stage.notes_state()


@misoperation("stopped: image_pull; done; 4 nodes of 3.2.1", stage="upgrading", disturbs=True)
def an_image_that_is_nowhere_unproven(stage: Stage) -> None:
    """The same without the pull that goes ahead; then the old image."""
    stage.asks(image=NONE, pre_pull="false")
    stage.asks(image=IMAGE)
    stage.notes_state()


@misoperation("done; 5 nodes of 3.2.2", stage="upgrading")
def image_and_more_nodes_together(stage: Stage) -> None:
    """Another image and one node more in one run."""
    stage.asks(image=UPGRADE_IMAGE, replicas="5")
    stage.notes_state()


@misoperation("done; 3 nodes of 3.2.2", stage="upgrading")
def image_and_fewer_nodes_together(stage: Stage) -> None:
    """Another image and one node fewer in one run."""
    stage.asks(image=UPGRADE_IMAGE, replicas="3")
    stage.notes_state()


@misoperation(
    "stopped: locked; done; 4 nodes of 3.2.2", "stopped: rollout_idle; done; 4 nodes of 3.2.2", stage="upgrading"
)
def two_runs_at_once(stage: Stage) -> None:
    """Start an upgrade, and in another window a scale-in."""
    working = stage.begins(image=UPGRADE_IMAGE)
    until("the first pod is replaced", lambda: image_of(stage, 3) == UPGRADE_IMAGE, 90, 0.2)
    stage.ends(stage.begins(replicas="3", image=None, operations=["scale_in"]))
    stage.ends(working)
    stage.notes_state()


@misoperation("unfinished; refused: rollout_idle", stage="upgrading")
def scale_in_in_the_middle(stage: Stage) -> None:
    """Half-way through an upgrade, ask for three nodes by the job that may only scale."""
    half_upgraded(stage)
    stage.asks(image=None, replicas="3", operations=["scale_in"])


@misoperation("unfinished; done; 5 nodes of 3.2.2", stage="upgrading")
def more_nodes_in_the_middle(stage: Stage) -> None:
    """Half-way through an upgrade, ask for a fifth node and name no image."""
    half_upgraded(stage)
    stage.asks(image=None, replicas="5")
    stage.notes_state()


@misoperation("unfinished; done; 4 nodes of 3.2.2", stage="upgrading")
def the_image_forgotten_in_the_middle(stage: Stage) -> None:
    """Half-way through an upgrade, run again and name no image."""
    half_upgraded(stage)
    stage.asks(image=None)
    stage.notes_state()


@misoperation("held; 3 of 4 pods are left; done; 4 nodes of 3.2.2", stage="upgrading")
def hold_after_one_pod(stage: Stage) -> None:
    """Hold the upgrade after one pod, and go on later."""
    stage.asks(image=UPGRADE_IMAGE, pause_after="1")
    stage.sees(
        "3 of 4 pods are left",
        lambda: [image_of(stage, ordinal) for ordinal in range(4)] == [IMAGE] * 3 + [UPGRADE_IMAGE],
    )
    stage.asks(image=UPGRADE_IMAGE)
    stage.notes_state()


@misoperation("held; done; every pod is new; 4 nodes of 3.2.2", stage="upgrading")
def restart_in_the_middle(stage: Stage) -> None:
    """Hold an upgrade after one pod, then ask for a rolling restart."""
    before = stage.place.uids(NAME)
    stage.asks(image=UPGRADE_IMAGE, pause_after="1")
    stage.asks(image=UPGRADE_IMAGE, restart_id="tuesday")
    stage.sees("every pod is new", lambda: not set(before.values()) & set(stage.place.uids(NAME).values()))
    stage.notes_state()


@misoperation(
    "refused: jobs_running; no pod was touched", "stopped: jobs_running; no pod was touched", stage="upgrading"
)
def upgrade_during_a_schema_change(stage: Stage) -> None:
    """A schema change is running; ask for another image."""
    before = stage.place.uids(NAME)
    stage.lab("SET CLUSTER SETTING lab.running_job = 'SCHEMA CHANGE'")
    stage.asks(image=UPGRADE_IMAGE)
    stage.sees("no pod was touched", lambda: stage.place.uids(NAME) == before)


@misoperation("refused: nodes_live; no pod was touched", stage="upgrading", disturbs=True)
def upgrade_with_a_dead_node(stage: Stage) -> None:
    """A node is dead; ask for another image."""
    stage.breaks(1)
    before = stage.place.uids(NAME)
    stage.asks(image=UPGRADE_IMAGE)
    stage.sees("no pod was touched", lambda: stage.place.uids(NAME) == before)


@misoperation("done; 4 nodes of 3.2.1", stage="upgrading", disturbs=True)
def the_image_of_one_pod_edited(stage: Stage) -> None:
    """`kubectl set image` on one pod, to an image that does not exist; the next run asks for what it was."""
    stage.hand("set", "image", f"pod/{NAME}-1", f"kaiwudb={NONE}")
    until("the pod is down", lambda: stage.down(1), 90, 1)
    stage.asks(image=IMAGE)
    stage.notes_state()


@misoperation("done; 4 nodes of 3.2.1", stage="upgrading", disturbs=True)
def upgraded_by_kubectl(stage: Stage) -> None:
    """`kubectl set image` on the StatefulSet; the next run asks for the old image."""
    stage.hand("set", "image", f"statefulset/{NAME}", f"kaiwudb={UPGRADE_IMAGE}")
    until("the controller replaces a pod", lambda: image_of(stage, 3) == UPGRADE_IMAGE, 60)
    stage.asks(image=IMAGE)
    stage.notes_state()


@misoperation("done; 4 nodes of 3.2.1", "nothing to do; 4 nodes of 3.2.1", stage="upgrading", disturbs=True)
def restarted_by_kubectl(stage: Stage) -> None:
    """`kubectl rollout restart`; a run in the middle of it asks for what there was."""
    before = stage.place.uids(NAME)
    stage.hand("rollout", "restart", f"statefulset/{NAME}")
    until("the controller replaces a pod", lambda: stage.place.uids(NAME) != before, 60)
    stage.asks(image=IMAGE)
    stage.notes_state()


@misoperation("done; 4 nodes of 3.2.2", stage="upgrading", disturbs=True)
def a_pod_killed_in_the_middle(stage: Stage) -> None:
    """Force-delete the pod that an upgrade has just replaced."""
    working = stage.begins(image=UPGRADE_IMAGE)
    until("the first pod is replaced", lambda: image_of(stage, 3) == UPGRADE_IMAGE, 90, 0.2)
    stage.hand("delete", "pod", f"{NAME}-3", "--force", "--grace-period=0")
    stage.ends(working)
    stage.notes_state()


@misoperation("done; 4 nodes of 3.2.2", stage="upgrading")
def update_strategy_edited(stage: Stage) -> None:
    """Somebody set the StatefulSet's update strategy to OnDelete; ask for another image."""
    patch = '--patch={"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}'
    stage.hand("patch", "statefulset", NAME, "--type=merge", patch)
    stage.asks(image=UPGRADE_IMAGE)
    stage.notes_state()
