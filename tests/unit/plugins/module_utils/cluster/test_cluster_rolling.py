# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Another image or other options: which pods, in what order, what comes before and after them, and what is held."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import rolling
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.gates import finalize
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import Observed
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Plan
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.rolling import edited_and_down, outdated
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    FAR,
    JOURNAL,
    NEW,
    OLD,
    deep,
    during,
    ids,
    left,
    live,
    mid_upgrade,
    observed,
    plan,
    plan_of,
    pod,
    row,
    silent,
    spec,
    statefulset,
    told,
)

DOWN = ["upgrade/kw-2", "upgrade/kw-1", "upgrade/kw-0"]
HELD = replace(JOURNAL, unfinalized={"version": "20.1-3", "image": OLD, "since": "09:00", "who": "ann"})
PULLED = {"image": NEW, "nodes": ["w1", "w2", "w3"]}
EVERYTHING = ["scale_out", "scale_in", "upgrade", "reconfigure", "finalize"]


def upgraded(image: str = FAR, journal: Journal = HELD, **more: Any) -> Observed:
    """Every pod runs the new release, whose cluster version is held."""
    build = f"V{image.rpartition(':')[2]}"
    rows = [row(number + 1, number, build=build) for number in range(3)]
    return live(of=spec(image=image), **{"nodes": rows, "journal": journal, **more})


def named_pods(*pods: Any) -> dict[str, Any]:
    return {item["metadata"]["name"]: item for item in pods}


def named(found: Plan, step: str) -> Any:
    return next(item for item in (*found.steps, *found.remaining) if item.id == step)


# ---- which pods


def test_upgrade_from_the_highest_ordinal_down() -> None:
    found = plan(image=NEW)
    assert ids(found) == ["prepull", *DOWN] and found.remaining == () and not found.held
    assert found.headline == f"kw: upgrade {OLD} → {NEW}, 4 steps" and found.changes == {
        "StatefulSet/kw image": (OLD, NEW)
    }
    first = found.steps[1]
    assert first.title == f"node 3: {OLD} → {NEW}" and first.facts == {
        "ordinal": 2,
        "options": [],
        "pre_pull": ["w1", "w2", "w3"],
    }
    assert all(step.disruptive and step.asked and step.operation == "upgrade" for step in found.steps[1:])
    assert not found.steps[0].disruptive and found.steps[0].operation == "upgrade"


def test_mid_upgrade() -> None:
    for asked in ({}, {"image": NEW}):
        assert ids(plan(mid_upgrade(pulled=PULLED), **asked)) == DOWN[1:]


def test_the_old_image_in_the_middle_rolls_back_what_was_changed() -> None:
    found = plan(mid_upgrade(pulled=PULLED), image=OLD)
    assert ids(found) == ["prepull", "upgrade/kw-2"] and found.changes == {"StatefulSet/kw image": (NEW, OLD)}
    assert found.steps[0].facts == {"nodes": {"kw-2": "w3"}}, "only where the old image is needed again"


def test_other_options_restart_pod_by_pod() -> None:
    found = plan(cache="1GiB", memory="2Gi")
    assert ids(found) == ["reconfigure/kw-2", "reconfigure/kw-1", "reconfigure/kw-0"]
    assert found.steps[0].title == "node 3: memory, cache"
    assert found.steps[0].facts == {"ordinal": 2, "options": ["memory", "cache"], "pre_pull": []}
    assert found.changes == {"StatefulSet/kw cache": (".25", "1GiB"), "StatefulSet/kw memory": (None, "2Gi")}


def test_the_same_quantity_in_other_words_restarts_nothing() -> None:
    seen = live(of=spec(cpu="0.5", memory="1024Mi"))
    assert ids(plan(seen, cpu="500m", memory="1Gi")) == [] and ids(plan(seen, cpu="501m")) != []


def test_another_text_restarts_pod_by_pod() -> None:
    found = plan(restart_id="20261124")
    assert ids(found) == ["reconfigure/kw-2", "reconfigure/kw-1", "reconfigure/kw-0"]
    assert found.changes == {"StatefulSet/kw restart_id": (None, "20261124")}
    once = live(of=spec(restart_id="20261124"))
    assert ids(plan(once, restart_id="20261124")) == ids(plan(once)) == [], "the same text restarts nothing"
    assert ids(plan(once, restart_id="20261125"))[0] == "reconfigure/kw-2"


def test_image_and_options_together_are_one_upgrade() -> None:
    found = plan(image=NEW, cache="1GiB")
    assert ids(found) == ["prepull", *DOWN] and found.steps[1].facts["options"] == ["cache"]
    assert found.changes == {"StatefulSet/kw image": (OLD, NEW), "StatefulSet/kw cache": (".25", "1GiB")}


def test_image_and_replicas_together() -> None:
    assert ids(plan(live(4), image=NEW, replicas=3)) == ["scale_in/kw-3", "prepull", *DOWN]
    assert ids(plan(image=NEW, replicas=4)) == ["volume/kw-3", "prepull", *DOWN, "scale_out/kw-3"]


def test_outdated_reads_pods_not_counters() -> None:
    unseen = statefulset(spec(), seen=False)
    unseen["status"]["updateRevision"] = "r0"
    assert outdated(spec(), live(sts=unseen)) == [], "what the controller has not seen yet says nothing"
    edited = statefulset(spec())
    edited["status"]["updateRevision"] = "r2"
    assert outdated(spec(), live(sts=edited)) == ["kw-2", "kw-1", "kw-0"]
    assert [step.title for step in plan(live(sts=edited)).steps] == [
        f"node {number}: new template" for number in (3, 2, 1)
    ]
    assert outdated(spec(), observed()) == []


# ---- pods whose image somebody edited


def edited(ordinal: int, *, image: str = "nowhere/kwdb:3.2.1", **how: Any) -> Any:
    return pod(ordinal, image=image, **{"ready": False, **how})


def test_pods_that_are_down_since_they_were_edited_are_made_anew_at_once() -> None:
    """Two of three: nobody answers, so no gate could ever hold again."""
    found = plan(silent(live(pods=[pod(0), edited(1), edited(2)])))
    assert ids(found) == ["delete/Pod/kw-1", "delete/Pod/kw-2", "settle"]
    assert found.steps[0].facts == {"uid": "pod-1"} and found.steps[2].title == "until kw-1, kw-2 serve again"


@pytest.mark.parametrize(
    ("case", "other"),
    [
        ("it serves, so the gates come first", edited(1, ready=True)),
        ("the engine counts it as live, so they do too", edited(1)),
        ("it ends already", edited(1, deleting=True)),
        ("it is of another template", edited(1, revision="r0")),
    ],
)
def test_an_edited_pod_is_not_made_anew_without_the_gates_when(case: str, other: Any) -> None:
    assert ids(plan(live(pods=[pod(0), other, pod(2)])))[-1] == "upgrade/kw-1", case
    assert edited_and_down(live(pods=[pod(0), other, pod(2)])) == [], case


def test_what_the_controller_has_not_seen_yet_makes_no_pod_an_edited_one() -> None:
    unseen = statefulset(spec(image=NEW), seen=False)
    assert edited_and_down(live(sts=unseen, pods=[pod(0), pod(1), pod(2, ready=False)])) == []
    assert edited_and_down(observed()) == []


# ---- pods whose image an admission webhook rewrites

MIRROR = "registry.local/kwdb@sha256:" + "a" * 64


def test_what_a_webhook_makes_of_an_image_is_no_other_image() -> None:
    settled = live(pods=[told(pod(number, image=MIRROR)) for number in range(3)])
    assert ids(plan(settled)) == ids(plan(settled, image=OLD)) == []
    down = live(pods=[told(pod(0, image=MIRROR)), told(pod(1, image=MIRROR, ready=False)), told(pod(2, image=MIRROR))])
    assert edited_and_down(down) == []
    assert finalize(settled, deep(), (3, 2, 1))[-1].holds, "all run the release that is finalised"
    found = plan(settled, image=NEW)
    assert ids(found) == ["prepull", *DOWN] and found.steps[1].title == f"node 3: {OLD} → {NEW}"


@pytest.mark.parametrize("editor", ["kubectl-set", "kubectl-edit", "Mozilla"])
def test_what_somebody_made_of_a_pod_is(editor: str) -> None:
    """Also where a webhook rewrote it before."""
    pods = [told(pod(0)), told(pod(1, image=MIRROR), editor), told(pod(2))]
    assert ids(plan(live(pods=pods)))[-1] == "upgrade/kw-1"
    assert rolling.edited(told(pod(1), editor)) and not rolling.edited(told(pod(1))) and rolling.edited(pod(1))
    applied = told(pod(1))
    applied["metadata"]["managedFields"][0]["operation"] = "Apply"
    assert rolling.edited(applied), "an apply lists the container too"


@pytest.mark.parametrize("held", [False, True])
def test_a_change_of_options_stays_one_where_a_webhook_rewrites_images(held: bool) -> None:
    """Pods of the template before have the same image, but nobody can tell by its name."""
    made = spec(cpu="2")
    half = statefulset(made, partition=2)
    half["status"]["updateRevision"] = "r2"
    origin = {"image": OLD, "options": spec().remembered()}
    journal = during("reconfigure", "reconfigure/kw-2", **{"from": origin})
    pods = [told(pod(number, image=MIRROR, revision="r2" if number == 2 else "r1")) for number in range(3)]
    seen = live(of=made, sts=half, pods=pods, journal=journal.end("10:00", "held") if held else journal)
    assert [step for step in ids(plan(seen)) if step != "reconfigure/kw-2"] == ["reconfigure/kw-1", "reconfigure/kw-0"]


# ---- pods that are missing, or down on a template that is left


def test_a_missing_pod_has_its_turn_while_others_have() -> None:
    """Its controller makes it of the revision that the partition says; passed over, two would restart without a gate between them."""
    assert ids(plan(live(pods=[pod(0), pod(2)]), image=NEW)) == ["prepull", *DOWN]
    half = replace(
        mid_upgrade(pulled=PULLED),
        objects={**mid_upgrade().objects, "Pod": named_pods(pod(0), pod(2, image=NEW, revision="r2"))},
    )
    assert ids(plan(half)) == ["upgrade/kw-1", "upgrade/kw-0"]
    assert plan(half).steps[0].title == f"node 2: no pod → {NEW}"
    assert ids(plan(live(pods=[pod(0), pod(2)]))) == ["settle"], "where nothing is new it only is waited for"


def test_a_pod_that_cannot_be_made_is_corrected_first() -> None:
    """More memory than the quota allows: the template is written anew, with its options, when the missing pod's turn comes."""
    wrong = spec(memory="64Gi")
    stuck = statefulset(wrong, partition=2)
    stuck["status"]["updateRevision"] = "r2"
    under_way = during("reconfigure", "reconfigure/kw-2", **{"from": {"image": OLD, "options": spec().remembered()}})
    seen = live(
        of=wrong,
        sts=stuck,
        pods=[pod(0), pod(1)],
        nodes=[row(1, 0), row(2, 1), row(3, 2, is_live=False)],
        journal=under_way,
    )
    found = plan(seen, memory="4Gi")
    assert ids(found) == ["reconfigure/kw-2", "reconfigure/kw-1", "reconfigure/kw-0"]
    assert found.steps[0].facts["options"] == ["memory"]


def test_a_canary_is_not_held_for_a_pod_that_is_missing() -> None:
    found = plan(live(pods=[pod(0), pod(1)]), image=NEW, pause_after=1)
    assert ids(found) == ["prepull", "upgrade/kw-2"] and left(found) == ["upgrade/kw-1", "upgrade/kw-0"]


def crashed(middle: Any, **journal: Any) -> Observed:
    """The highest pod is new and serves, the next one is new and does not start."""
    half = statefulset(spec(image=NEW), partition=1)
    half["status"].update(updateRevision="r2", currentRevision="r1")
    pods = [pod(0), *([middle] if middle else []), pod(2, image=NEW, revision="r2")]
    nodes = [row(1, 0), row(2, 1, is_live=False, is_available=False), row(3, 2, build="V3.2.2")]
    return live(
        sts=half, pods=pods, nodes=nodes, journal=replace(during("upgrade", "upgrade/kw-1", image=NEW), pulled=PULLED)
    )


@pytest.mark.parametrize("image", [OLD, "kwdb/kwdb:3.2.3"])
@pytest.mark.parametrize(
    "middle", [pod(1, image=NEW, revision="r2", ready=False, waiting=("CrashLoopBackOff", ""), restarts=4), None]
)
def test_a_release_that_fails_on_the_second_pod_is_left_again(image: str, middle: Any) -> None:
    """The gates would never let the first one go while the second is down; so that one comes back on the old revision before."""
    found = plan(crashed(middle), image=image)
    assert [step for step in ids(found) if step != "prepull"][:2] == ["revert/kw-1", "upgrade/kw-2"]
    step = named(found, "revert/kw-1")
    assert (step.pod, step.operation, step.facts["ordinal"], step.facts["options"]) == ("kw-1", "upgrade", 1, [])


def test_going_on_with_the_same_release_reverts_nothing() -> None:
    middle = pod(1, image=NEW, revision="r2", ready=False)
    assert ids(plan(crashed(middle))) == ["upgrade/kw-1", "upgrade/kw-0"]


def test_a_pod_that_was_down_before_is_no_stray() -> None:
    """It is of the revision before already: to end it would change nothing."""
    seen = live(pods=[pod(0), pod(1, ready=False), pod(2)])
    assert "revert/kw-1" not in ids(plan(seen, image=NEW))


def test_the_revert_is_seen_through_when_the_template_is_written_already() -> None:
    back = statefulset(spec(), partition=3)
    back["status"].update(updateRevision="r1", currentRevision="r1")
    middle = pod(1, image=NEW, revision="r2", ready=False)
    seen = replace(crashed(middle), objects={**crashed(middle).objects, "StatefulSet": {"kw": back}})
    assert [step for step in ids(plan(seen, image=OLD)) if step != "prepull"][:2] == ["revert/kw-1", "upgrade/kw-2"]


# ---- the controller is slow, or the run died between two writes


def test_a_template_that_the_controller_has_not_seen_is_not_forgotten() -> None:
    made = spec(memory="4Gi")
    seen = live(
        of=made, sts=statefulset(made, partition=3, seen=False), journal=during("reconfigure", "reconfigure/kw-2")
    )
    assert ids(plan(seen, memory="4Gi")) == ["reconfigure/kw-2", "reconfigure/kw-1", "reconfigure/kw-0"]


@pytest.mark.parametrize(("done", "steps"), [(False, ["preserve", *DOWN, "finalize"]), (True, [*DOWN, "finalize"])])
def test_what_was_noted_and_not_done_is_done_by_the_next_run(done: bool, steps: list[str]) -> None:
    """Killed between the note and the setting, the cluster version would rise by itself after the last pod."""
    held = {"version": "20.1-3", "image": OLD, "since": "x", "who": "ann", "set": done}
    pulled = {"image": FAR, "nodes": ["w1", "w2", "w3"]}
    journal = replace(during("upgrade", "preserve", image=FAR), unfinalized=held, pulled=pulled)
    found = plan(live(journal=journal), image=FAR)
    assert [*ids(found), *left(found)] == steps


# ---- the new image runs once on every node before the first restart


def test_the_image_runs_once_on_every_node_that_needs_it() -> None:
    step = plan(image=NEW).steps[0]
    assert (step.id, step.title) == ("prepull", f"{NEW} runs once on w1, w2, w3")
    assert step.facts == {"nodes": {"kw-0": "w1", "kw-1": "w2", "kw-2": "w3"}} and not step.pod


def test_two_pods_on_one_node_pull_once() -> None:
    pods = [pod(number) for number in range(3)]
    pods[1]["spec"]["nodeName"] = "w1"
    found = plan(live(pods=pods, of=spec(anti_affinity="preferred")), image=NEW)
    assert sorted(found.steps[0].facts["nodes"].values()) == ["w1", "w3"]
    assert found.steps[1].facts["pre_pull"] == ["w1", "w3"]


def test_a_pod_without_a_node_pulls_nowhere() -> None:
    pods = [pod(0), pod(1), pod(2, ready=False, unschedulable="no node")]
    del pods[2]["spec"]["nodeName"]
    found = plan(live(pods=pods), image=NEW)
    assert found.steps[0].facts == {"nodes": {"kw-0": "w1", "kw-1": "w2"}} and "upgrade/kw-2" in ids(found)


@pytest.mark.parametrize(
    ("pulled", "again"),
    [
        ({}, True), (None, True), ({"image": NEW}, True), ({"image": OLD, "nodes": ["w1", "w2", "w3"]}, True), (PULLED, False),
        ({"image": NEW, "nodes": ["w1", "w2"]}, False), ({"image": NEW, "nodes": ["w2", "w3"]}, True),
    ],
)  # fmt: skip
def test_what_was_pulled_in_this_operation_is_not_pulled_again(pulled: Any, again: bool) -> None:
    """kw-0 and kw-1 are still to come, on w1 and w2; a pod that has moved since needs its new node too."""
    found = plan(mid_upgrade(pulled=pulled), image=NEW)
    assert ("prepull" in ids(found)) is again
    assert named(found, "upgrade/kw-1").facts["pre_pull"] == ["w1", "w2"], "its gate still asks what was proven"


def test_no_pre_pull_when_it_is_switched_off_or_the_image_stays() -> None:
    off = plan(image=NEW, pre_pull=False)
    assert ids(off) == DOWN and off.steps[0].facts["pre_pull"] == []
    assert "prepull" not in ids(plan(cache="1GiB")) and ids(plan()) == []


# ---- the cluster version is held, so that there is a way back


@pytest.mark.parametrize(
    ("build", "image", "held"),
    [
        ("V3.2.1", NEW, False),  # both bring 20.1-3
        ("V3.2.1", FAR, True),  # what 3.3 brings is not known
        ("V3.2.2-28-gabc", FAR, True),
        (None, FAR, True),  # the image's tag tells what runs
        ("V3.3.0", FAR, False),  # the same release
        ("V3.4.0", FAR, False),  # an older one raises nothing
        ("V3.2.1", "kwdb/kwdb:latest", True),  # nobody can tell
        ("V3.2.1", f"kwdb/kwdb@sha256:{'a' * 64}", True),
        ("V3.3.0", "kwdb/kwdb:3.3.1", True),
    ],
)
def test_the_version_is_held_where_the_release_may_raise_it(build: str | None, image: str, held: bool) -> None:
    seen = live(nodes=[row(number + 1, number, build=build) for number in range(3)])
    found = plan(seen, image=image)
    assert ids(found) == ["prepull", *(["preserve"] if held else []), *DOWN]
    assert left(found) == (["finalize"] if held else [])
    if held:
        step = named(found, "preserve")
        assert step.operation == "upgrade" and not step.disruptive


def test_what_runs_counts_and_not_what_the_template_says() -> None:
    """A template changed by hand: the pods still run the old release."""
    edited = statefulset(spec(image=FAR), partition=3)
    edited["status"]["updateRevision"] = "r2"
    assert "preserve" in ids(plan(live(sts=edited), image=FAR))


def test_without_an_answer_the_image_that_runs_tells() -> None:
    assert "preserve" in ids(plan(silent(live()), image=FAR)) and "preserve" not in ids(plan(silent(live()), image=NEW))


@pytest.mark.parametrize(
    "seen",
    [
        live(journal=HELD),  # held already, by a run that was killed
        live(1, of=spec(single_node=True)),
        silent(live(pods=[pod(number, ready=False) for number in range(3)], nodes=[], journal=Journal())),
    ],
)
def test_nothing_is_held_twice_nor_where_there_is_nobody_to_ask(seen: Observed) -> None:
    assert "preserve" not in ids(plan(seen, image=FAR))


def test_an_engine_whose_versions_are_not_known_is_always_held() -> None:
    bini = live(of=spec(engine="bini", image="bini/bini:release2.0"), nodes=[row(1, 0, build="release2.0")])
    assert ids(plan(bini, image="bini/bini:release2.1"))[:3] == ["prepull", "preserve", "upgrade/kw-2"]


def test_other_options_hold_nothing() -> None:
    """Also where nobody knows the versions: the image stays."""
    bini = live(of=spec(engine="bini", image="bini/bini:release2.0"), nodes=[row(1, 0, build="release2.0")])
    assert ids(plan(bini, cache="1GiB")) == ["reconfigure/kw-2", "reconfigure/kw-1", "reconfigure/kw-0"]


def test_versions_of_the_older_engine() -> None:
    first = live(of=spec(engine="kwdb2", image="kwdb/kwdb:2.0.4"), nodes=[row(1, 0, build="V2.0.4")])
    assert "preserve" in ids(plan(first, image="kwdb/kwdb:2.1.0")), "20.1 and 20.1-1"
    old = live(of=spec(engine="kwdb2", image="kwdb/kwdb:2.2.0"), nodes=[row(1, 0, build="V2.2.0")])
    assert "preserve" not in ids(plan(old, image="kwdb/kwdb:2.2.2")), "20.1-1 both"


# ---- the end of the way back


def test_finalising_must_be_allowed_by_name() -> None:
    found = plan(image=FAR)
    assert left(found) == ["finalize"] and "finalize" not in ids(found)
    assert found.headline == f"kw: upgrade {OLD} → {FAR}, 5 steps", "what may not run is not announced"
    allowed = plan(image=FAR, operations=EVERYTHING)
    assert ids(allowed) == ["prepull", "preserve", *DOWN, "finalize"] and allowed.remaining == ()
    assert named(allowed, "finalize").disruptive and named(allowed, "finalize").operation == "finalize"
    with_more = plan(image=FAR, replicas=4, operations=EVERYTHING)
    assert ids(with_more)[-2:] == ["scale_out/kw-3", "finalize"], "last of all"


def test_a_settled_cluster_that_is_held_waits_for_somebody_to_finalise() -> None:
    found = plan(upgraded())
    assert (ids(found), left(found), found.writes) == ([], ["finalize"], False)
    assert found.headline == "kw: nothing to do"
    assert ids(plan(upgraded(), operations=["finalize"])) == ["finalize"]
    assert (ids(plan(upgraded(journal=JOURNAL))), left(plan(upgraded(journal=JOURNAL)))) == ([], [])


def test_what_remains_to_finalise_hides_nothing_else() -> None:
    unhealthy = replace(upgraded(), nodes=(row(1, 0), row(2, 1), row(3, 2, is_live=False)))
    found = plan(unhealthy)
    assert (ids(found), left(found)) == (["settle"], ["finalize"])
    open_ = upgraded(
        journal=replace(HELD, operation={"name": "reconfigure", "step": "repair/Service/kw", "who": "ann"})
    )
    assert (ids(plan(open_)), left(plan(open_))) == (["close"], ["finalize"])


def test_after_an_undo_the_version_is_only_let_go() -> None:
    undone = live(journal=HELD)
    found = plan(undone)
    assert ids(found) == ["release"] and not found.steps[0].disruptive
    assert found.steps[0].operation == "upgrade" and found.steps[0].facts == {"undone": True}
    assert "20.1-3" in found.steps[0].title
    assert left(plan(undone, operations=["scale_out"])) == ["release"]


@pytest.mark.parametrize(
    ("image", "version", "last"),
    [
        (NEW, "20.1-3", "release"),  # what it brings is what is held: there is nothing to finalise
        (NEW, "20.1-1", "finalize"),
        (FAR, "20.1-3", "finalize"),  # what it brings is not known
        ("kwdb/kwdb:latest", "20.1-3", "finalize"),
    ],
)
def test_a_hold_that_holds_nothing_is_let_go(image: str, version: str, last: str) -> None:
    held = replace(JOURNAL, unfinalized={**HELD.unfinalized, "version": version})
    found = plan(upgraded(image, held), operations=EVERYTHING)
    assert ids(found) == [last] and (found.steps[0].facts == {"undone": True}) is (last == "release")


def test_an_undo_to_an_image_that_says_no_version_lets_go_too() -> None:
    latest = "kwdb/kwdb:latest"
    undone = live(of=spec(image=latest), journal=replace(JOURNAL, unfinalized={**HELD.unfinalized, "image": latest}))
    assert ids(plan(undone)) == ["release"]


def test_going_back_ends_with_letting_go() -> None:
    seen = mid_upgrade(FAR, pulled={**PULLED, "image": FAR})
    held = replace(seen, journal=replace(seen.journal, unfinalized=HELD.unfinalized))
    assert ids(plan(held, image=OLD)) == ["prepull", "upgrade/kw-2", "release"]
    assert ids(plan(held)) == ["upgrade/kw-1", "upgrade/kw-0"] and left(plan(held)) == ["finalize"]


# ---- the canary


@pytest.mark.parametrize(
    ("pause_after", "now", "later"),
    [
        (0, DOWN, []),
        (1, DOWN[:1], DOWN[1:]),
        (2, DOWN[:2], DOWN[2:]),
        (3, DOWN, []),
        (9, DOWN, []),
    ],
)
def test_a_canary(pause_after: int, now: list[str], later: list[str]) -> None:
    found = plan(image=NEW, pause_after=pause_after)
    assert (ids(found), left(found), found.held) == (["prepull", *now], later, bool(later))
    assert found.headline == f"kw: upgrade {OLD} → {NEW}, {len(now) + 1} steps" + (
        f", then held with {len(later)} pods to come" if later else ""
    )
    assert len(found.steps[0].facts["nodes"]) == 3, "proven for those to come too"


@pytest.mark.parametrize(
    ("pause_after", "now", "later"), [(1, [], DOWN[1:]), (2, DOWN[1:2], DOWN[2:]), (3, DOWN[1:], [])]
)
def test_pods_that_are_new_already_count(pause_after: int, now: list[str], later: list[str]) -> None:
    """The same run again holds where it was held: it takes no second pod."""
    held = replace(mid_upgrade(), journal=JOURNAL)
    found = plan(held, image=NEW, pause_after=pause_after)
    assert (ids(found), left(found), found.held) == ([*(["prepull"] if now else []), *now], later, bool(later))
    if not now:
        assert found.headline == "kw: held, 2 pods still to come" and not found.writes


def test_a_pod_under_way_is_seen_through_before_the_hold() -> None:
    seen = mid_upgrade()
    seen = replace(seen, journal=replace(seen.journal, operation={**seen.journal.operation, "step": "upgrade/kw-2"}))
    found = plan(seen, image=NEW, pause_after=1)
    assert (ids(found), left(found), found.held) == (["upgrade/kw-2"], DOWN[1:], True)


def test_the_canary_goes_on_or_back() -> None:
    held = replace(mid_upgrade(), journal=JOURNAL)
    assert ids(plan(held)) == ["prepull", *DOWN[1:]] and not plan(held).held, "the same run without pause_after"
    assert ids(plan(held, image=OLD)) == ["prepull", "upgrade/kw-2"]


def test_a_canary_of_other_options() -> None:
    found = plan(cache="1GiB", pause_after=1)
    assert ids(found) == ["reconfigure/kw-2"] and left(found) == ["reconfigure/kw-1", "reconfigure/kw-0"] and found.held


@pytest.mark.parametrize(
    ("asked", "refused"),
    [({"replicas": 4}, False), ({"replicas": 4, "cpu": "2"}, False), ({"cpu": "3"}, True), ({"memory": "4Gi"}, True)],
)
def test_a_canary_of_other_options_is_no_wish_of_a_run_that_asks_for_something_else(
    asked: dict[str, Any], refused: bool
) -> None:
    made = spec(cpu="2")
    half = statefulset(made, partition=2)
    half["status"]["updateRevision"] = "r2"
    held = live(of=made, sts=half, pods=[pod(0), pod(1), pod(2, revision="r2")])
    if refused:
        with pytest.raises(ClusterError, match=r"reconfigure/kw-2 is asked for, but this run may only scale_out"):
            plan(held, operations=["scale_out"], **asked)
        return
    found = plan(held, operations=["scale_out"], **asked)
    assert ids(found) == ["volume/kw-3", "scale_out/kw-3"] and left(found) == ["reconfigure/kw-1", "reconfigure/kw-0"]


def test_nothing_is_finalised_while_it_is_held() -> None:
    found = plan(image=FAR, pause_after=1, operations=EVERYTHING)
    assert ids(found) == ["prepull", "preserve", "upgrade/kw-2"] and left(found)[:2] == DOWN[1:]
    seen = mid_upgrade(FAR)
    held = replace(seen, journal=HELD)
    assert ids(plan(held, image=FAR, pause_after=1, operations=EVERYTHING)) == []


def test_what_else_was_asked_for_comes_after_the_hold() -> None:
    found = plan(image=NEW, replicas=4, pause_after=1)
    assert "scale_out/kw-3" not in ids(found) and left(found) == [*DOWN[1:], "scale_out/kw-3"]
    shrinking = plan(live(4), image=NEW, replicas=3, pause_after=1)
    assert ids(shrinking) == ["scale_in/kw-3", "prepull", "upgrade/kw-2"], "what leaves is counted among neither"


def test_a_single_node_may_be_restarted_too() -> None:
    single = live(1, of=spec(single_node=True))
    assert ids(plan(single, image=FAR)) == ["prepull", "upgrade/kw-0"]


# ---- not initialised yet


def test_what_is_not_initialised_takes_the_new_template_at_once() -> None:
    waiting = [pod(number, ready=False) for number in range(3)]
    fresh = silent(live(pods=waiting, nodes=[], journal=Journal()))
    for asked in ({"image": FAR}, {"cache": "1GiB"}, {"image": FAR, "pause_after": 1}):
        found = plan(fresh, **asked)
        assert ids(found) == ["create/StatefulSet/kw", "initialize"] and found.remaining == (), asked
    nobody = live(pods=[], nodes=[], journal=Journal())
    assert ids(plan(silent(nobody), image=FAR)) == ["create/StatefulSet/kw", "initialize"], (
        "also where no pod could be made yet"
    )
    with pytest.raises(ClusterError, match="create/StatefulSet/kw is asked for"):
        plan(fresh, image=FAR, operations=["initialize"])


def test_on_a_new_cluster_there_is_nothing_to_upgrade() -> None:
    found = plan_of(spec(image=FAR, pause_after=1), observed())
    assert not [name for name in ids(found) if name in ("preserve", "prepull", "finalize") or name in DOWN]
    assert not found.held
