# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Going back by itself: when, to what, and what the journal keeps of the way so far."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import manifests
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.context import Context
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import Observed
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations.close import close
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Plan, Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.run import Run
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.spec import parse_asked
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.undo import UNDOABLE, before, begins
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    JOURNAL,
    NAMES,
    NEW,
    OLD,
    REQUIRED,
    during,
    ids,
    left,
    live,
    mid_upgrade,
    named,
    plan_of,
    pod,
    spec,
    spec_over,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock

WAS = spec(cache="1GiB", image_pull_secrets=["a"], pod_labels={"a": "b"})
ORIGIN = {"image": OLD, "options": WAS.remembered()}


def undoing(origin: Any = None) -> Journal:
    return during("upgrade", "upgrade/kw-2", **{"from": ORIGIN if origin is None else origin})


# ---- to what


def test_image_and_options_of_the_pods_go_back_together() -> None:
    wanted = spec(
        image=NEW, cache="2GiB", memory="4Gi", image_pull_secrets=["a"], pod_labels={"a": "c"}, restart_id="1"
    )
    back = before(wanted, undoing())
    assert (back.image, back.cache, back.pod_labels) == (OLD, "1GiB", {"a": "b"})
    assert (back.memory, back.restart_id) == (None, None), "what was not set is not set"
    assert back.image_pull_secrets == ("a",), "as a value of its kind, not as the journal's JSON has it"
    assert {"image", "cache", "memory", "pod_labels", "restart_id"} <= back.asked, "or the plan would not look at them"


def test_what_was_not_changed_is_not_asked_for() -> None:
    wanted = spec_over(live(of=WAS), image=NEW)
    back = before(wanted, undoing())
    assert back.asked == {"name", "namespace", "image"} and back.values["cache"] == "1GiB"


def test_what_does_not_shape_pods_stays_as_it_is_asked_for() -> None:
    wanted = spec(
        image=NEW,
        replicas=5,
        ui="nodeport",
        volumes="wipe",
        storage_size="20Gi",
        waive=["space"],
        on_failure="rollback",
        pause_after=1,
        soak=7,
    )
    back = before(wanted, undoing())
    assert (back.replicas, back.ui, back.volumes, back.storage_size) == (5, "nodeport", "wipe", "20Gi")
    assert (back.waive, back.on_failure, back.soak, back.operations) == (("space",), "rollback", 7, wanted.operations)
    assert back.pause_after == 0, "going back holds nowhere"


@pytest.mark.parametrize("origin", [{"image": OLD}, {"image": OLD, "options": {}}, {"image": OLD, "options": None}])
def test_where_no_options_were_kept_only_the_image_goes_back(origin: dict[str, Any]) -> None:
    """Defaults would be no way back, but a third shape of the pods."""
    wanted = spec(image=NEW, cache="2GiB", sql_port=26258)
    back = before(wanted, undoing(origin))
    assert dict(back.values) == {**wanted.values, "image": OLD} and back.asked == wanted.asked


def test_without_an_origin_nothing_goes_anywhere() -> None:
    wanted = spec(image=NEW, cache="2GiB")
    assert dict(before(wanted, JOURNAL).values) == dict(wanted.values)


def test_the_plan_of_going_back_touches_only_what_is_new() -> None:
    seen = mid_upgrade(**{"from": {"image": OLD, "options": spec().remembered()}})
    back = before(spec_over(seen, image=NEW, on_failure="rollback", pause_after=1), seen.journal)
    found = plan_of(back, seen)
    assert ids(found) == ["prepull", "upgrade/kw-2"] and left(found) == [] and not found.held


# ---- when

STEP = Step("upgrade/kw-2", "x", "upgrade", True, "kw-2", {"ordinal": 2})


def run_on(seen: Any, *, run_id: str = "r1", **asked: Any) -> tuple[Run, Context, Client]:
    """A run under way on this cluster; what it writes goes nowhere else."""
    client = Client(Clock())
    run = Run(client, {**REQUIRED}, who="ann", run_id=run_id)  # type: ignore[arg-type]
    ctx = Context(client, spec(**{"image": NEW, **asked}), PROFILES["kwdb"], "ann", run_id=run_id)  # type: ignore[arg-type]
    ctx.seen = seen
    ctx.look = lambda: ctx.seen  # type: ignore[method-assign]
    return run, ctx, client


def failed(reason: str) -> ClusterError:
    return ClusterError("pod kw-2 cannot start.", reason, node="kw-2")


@pytest.mark.parametrize("reason", UNDOABLE)
def test_a_pod_that_cannot_start_is_undone_when_that_was_asked_for(reason: str) -> None:
    _run, ctx, _client = run_on(mid_upgrade(**{"from": ORIGIN}), on_failure="rollback", cache="2GiB")
    assert begins(ctx, STEP, failed(reason))
    assert (ctx.spec.image, ctx.spec.cache) == (OLD, "1GiB")
    assert ctx.seen.journal.operation["undoing"] == {
        "run": "r1", "reason": reason, "msg": "pod kw-2 cannot start.", "step": "upgrade/kw-2", "node": "kw-2",
        "target": {"image": NEW, "security": "insecure", "cache": "2GiB"},
    }  # fmt: skip
    assert ctx.lines == [f"upgrade/kw-2 failed ({reason}): rolling back to {OLD}"]


@pytest.mark.parametrize(
    ("case", "step", "reason", "operation"),
    [
        ("it was not asked for", STEP, "image_pull", {"from": ORIGIN, "on_failure": "stop"}),
        ("nobody knows where it came from", STEP, "image_pull", {}),
        ("it goes back already", STEP, "image_pull", {"from": ORIGIN, "undoing": {"run": "r1"}}),
        ("a gate is no failure of the new", STEP, "ranges_unavailable", {"from": ORIGIN}),
        ("the lock is somebody else's", STEP, "lock_lost", {"from": ORIGIN}),
        ("the API server is away", STEP, "api_connectionfailed", {"from": ORIGIN}),
        ("nothing was restarted yet", replace(STEP, id="prepull", pod=""), "image_pull", {"from": ORIGIN}),
        ("another node failed", replace(STEP, id="scale_out/kw-3", operation="scale_out", pod="kw-3"), "timeout", {"from": ORIGIN}),
    ],
)  # fmt: skip
def test_other_failures_are_not_undone(case: str, step: Step, reason: str, operation: dict[str, Any]) -> None:
    asked = {"on_failure": operation.get("on_failure", "rollback")}
    seen = mid_upgrade(**{key: value for key, value in operation.items() if key != "on_failure"})
    _run, ctx, client = run_on(seen, **asked)
    assert not begins(ctx, step, failed(reason)), case
    assert ctx.spec.image == NEW and client.sent == [] and ctx.lines == []


# ---- what the journal keeps of the way so far


def noted(run: Run, ctx: Context, step: Step = STEP) -> dict[str, Any]:
    """The operation that the journal holds before the step is done."""
    run._note(ctx, Plan("kw", (step,)), step)
    return dict(ctx.seen.journal.operation)


def test_where_an_upgrade_came_from_is_noted_before_anything_is_written() -> None:
    run, ctx, _client = run_on(live(of=WAS))
    found = noted(run, ctx, Step("prepull", "x", "upgrade"))
    assert found["from"] == ORIGIN and (found["name"], found["step"], found["image"]) == ("upgrade", "prepull", NEW)
    assert noted(run, ctx)["from"] == ORIGIN


def test_it_is_not_noted_anew_when_the_template_is_new_already() -> None:
    for run_id in ("r1", "r2"):
        run, ctx, _client = run_on(mid_upgrade(**{"from": ORIGIN}), run_id=run_id)
        assert noted(run, ctx)["from"] == ORIGIN, "killed in the middle, and run again"


def test_after_a_hold_the_way_back_is_still_known() -> None:
    """The StatefulSet holds the new image already; a failure of the second pod must lead back to the old one."""
    held = replace(mid_upgrade(), journal=undoing().end("10:00", "held"))
    run, ctx, _client = run_on(held, run_id="r2", on_failure="rollback")
    assert noted(run, ctx)["from"] == ORIGIN
    assert begins(ctx, STEP, failed("image_pull")) and ctx.spec.image == OLD


def test_nor_is_it_lost_to_what_was_done_meanwhile() -> None:
    """Held, then grown by another run, then taken up again."""
    journal = undoing().end("10:00", "held").begin("scale_out", "ben", "10:05").end("10:06", "done")
    run, ctx, _client = run_on(replace(mid_upgrade(), journal=journal), run_id="r2")
    assert noted(run, ctx)["from"] == ORIGIN


def test_nor_to_a_repair_in_the_middle() -> None:
    """A Service that somebody deleted is an operation of its own; the upgrade goes on after it, and can still be undone."""
    seen = mid_upgrade(**{"from": ORIGIN})
    run, ctx, _client = run_on(seen, run_id="r2")
    repair, rest = Step("create/Service/kw-public", "x", "reconfigure"), STEP
    steps = Plan("kw", (repair, rest))
    run._note(ctx, steps, repair)
    assert (
        ctx.seen.journal.history[-1]["outcome"] == "interrupted" and ctx.seen.journal.operation["name"] == "reconfigure"
    )
    run._note(ctx, steps, rest)
    assert ctx.seen.journal.operation["from"] == ORIGIN and ctx.seen.journal.history[-1]["outcome"] == "done"


@pytest.mark.parametrize("outcome", ["done", "undone", "rolled back"])
def test_after_an_end_the_next_one_begins_where_it_is(outcome: str) -> None:
    seen = live(of=spec(image=NEW), journal=undoing().end("10:00", outcome))
    run, ctx, _client = run_on(seen, image="kwdb/kwdb:3.2.3")
    assert noted(run, ctx)["from"]["image"] == NEW


def test_another_operation_knows_nothing_of_the_one_before() -> None:
    seen = live(of=WAS, journal=during("reconfigure", "reconfigure/kw-2", **{"from": {"image": "x:1", "options": {}}}))
    run, ctx, _client = run_on(seen)
    assert noted(run, ctx)["from"] == ORIGIN and ctx.seen.journal.history[-1]["name"] == "reconfigure"


def test_growing_comes_from_nowhere() -> None:
    run, ctx, _client = run_on(live())
    assert "from" not in noted(run, ctx, Step("scale_out/kw-3", "x", "scale_out", pod="kw-3"))


def test_what_was_before_is_told_when_an_operation_begins_and_goes_into_its_history() -> None:
    run, ctx, _client = run_on(live(5, of=spec(replicas=5)), replicas=3)
    first = Step("scale_in/kw-4", "x", "scale_in", pod="kw-4")
    assert noted(run, ctx, first)["was"] == {"image": OLD, "replicas": 5}
    ctx.seen = replace(live(4, of=spec(replicas=4)), journal=ctx.seen.journal)  # one has left since
    assert noted(run, ctx, replace(first, id="scale_in/kw-3", pod="kw-3"))["was"]["replicas"] == 5
    done = ctx.seen.journal.end("10:00", "done").history[-1]
    assert (done["was"]["replicas"], done["replicas"]) == (5, 3)


def test_a_canary_that_goes_on_was_what_it_began_with() -> None:
    held = undoing().end("10:00", "held")
    run, ctx, _client = run_on(live(of=spec(image=NEW), journal=held))
    assert noted(run, ctx)["was"]["image"] == OLD


@pytest.mark.parametrize("nonsense", ["x", [1], 5])
def test_an_origin_that_nobody_can_read_is_none(nonsense: Any) -> None:
    held = {"name": "upgrade", "outcome": "held", "from": nonsense}
    run, ctx, _client = run_on(live(of=WAS, journal=replace(JOURNAL, history=(held,))))
    assert noted(run, ctx)["from"] == ORIGIN


@pytest.mark.parametrize(("run_id", "still"), [("r1", True), ("r2", False)])
def test_a_later_run_goes_where_it_was_asked_to(run_id: str, still: bool) -> None:
    """One that went back was killed; the next one is no rollback, and may be rolled back itself."""
    seen = mid_upgrade(
        **{"from": ORIGIN, "undoing": {"run": "r1", "reason": "image_pull", "msg": "x", "step": "upgrade/kw-2"}}
    )
    run, ctx, _client = run_on(seen, run_id=run_id, on_failure="rollback")
    assert bool(noted(run, ctx).get("undoing")) is still
    assert begins(ctx, STEP, failed("image_pull")) is not still


# ---- a way back that the run's time cuts short

WHY = {
    "run": "r1",
    "reason": "image_pull",
    "msg": "pod kw-2 cannot start.",
    "step": "upgrade/kw-2",
    "node": "kw-2",
    "target": {"image": NEW, "cache": "2GiB"},
}
SAME = {"image": NEW, "cache": "2GiB", "on_failure": "rollback"}


def cut(**why: Any) -> Observed:
    """The pods go back; the highest one is next."""
    return mid_upgrade(**{"from": ORIGIN, "undoing": {**WHY, **why}})


def test_time_that_is_over_is_noted_until_somebody_goes_on() -> None:
    run, ctx, _client = run_on(cut(), **SAME)
    ctx.deadline = 0.0
    plan = Plan("kw", (STEP,))
    assert run._work(ctx, plan, plan)["in_progress"]
    assert ctx.seen.journal.operation["undoing"] == {**WHY, "paused": True}
    assert noted(run, ctx)["undoing"] == WHY, "one that is killed afterwards was not cut by its time"


def test_the_time_of_another_run_says_nothing_of_the_way_back() -> None:
    run, ctx, _client = run_on(cut(), run_id="r2", **SAME)
    ctx.deadline = 0.0
    plan = Plan("kw", (Step("settle", "x"),))
    assert run._work(ctx, plan, plan)["in_progress"]
    assert "paused" not in ctx.seen.journal.operation["undoing"]


@pytest.mark.parametrize(
    ("case", "run_id", "paused", "asked", "goes"),
    [
        ("the next slice", "r1", False, {}, True),
        ("the same again", "r2", True, {}, True),
        ("it was killed", "r2", False, {}, False),
        ("another image", "r2", True, {"image": "kwdb/kwdb:3.2.3"}, False),
        ("other options", "r2", True, {"cache": "1GiB"}, False),
        ("more options", "r2", True, {"memory": "4Gi"}, False),
        ("it is not to go back", "r2", True, {"on_failure": "stop"}, False),
        ("other words about the run alone", "r2", True, {"soak": 9, "waive": ["space"]}, True),
    ],
)
def test_who_goes_on_with_a_way_back(case: str, run_id: str, paused: bool, asked: dict[str, Any], goes: bool) -> None:
    seen = cut(paused=paused)
    journal = manifests.configmap(NAMES, seen.journal.data())
    objects = [item for kind in seen.objects.values() for item in kind.values() if item["kind"] != "ConfigMap"]
    client = Client(Clock(), *objects, journal, {"kind": "Namespace", "metadata": {"name": "db"}})
    given = parse_asked({"name": "kw", "namespace": "db", **SAME, **asked})
    run = Run(client, given, who="ann", run_id=run_id)  # type: ignore[arg-type]
    ctx = run._context()
    assert (ctx.spec.image == OLD) is goes, case
    assert bool(run._undoing(ctx)) is goes
    told = f"upgrade/kw-2 failed (image_pull) in the run before: goes on rolling back to {OLD}"
    assert ctx.lines == ([told] if goes and run_id == "r2" else [])
    after = noted(run, ctx)["undoing"]
    assert after == ({**WHY, "run": run_id} if goes else {})


def test_who_goes_on_with_a_way_back_fails_as_the_run_before_would_have() -> None:
    run, ctx, _client = run_on(cut(paused=True), run_id="r2", **SAME)
    run.undoes, ctx.deep = "r1", lambda: None  # type: ignore[method-assign]
    plan = Plan("kw", (Step("stamp", "x"),))
    with pytest.raises(ClusterError, match=r"pod kw-2 cannot start\. It was rolled back") as error:
        run._do = lambda *_what: None  # type: ignore[method-assign]
        run._work(ctx, plan, plan)
    assert error.value.reason == "image_pull" and error.value.facts["rolled_back"]


def test_a_pod_that_is_still_down_is_not_said_to_run_as_before() -> None:
    run, ctx, _client = run_on(cut(paused=True), run_id="r2", **SAME)
    run.undoes, ctx.deep = "r1", lambda: None  # type: ignore[method-assign]
    ctx.seen = replace(ctx.seen, objects={**ctx.seen.objects, "Pod": named(pod(0), pod(1), pod(2, ready=False))})
    plan, run._do = Plan("kw", (Step("stamp", "x"),)), lambda *_what: None  # type: ignore[method-assign]
    with pytest.raises(ClusterError, match=r"rolled back: kw-2 is still down, and every other pod runs .* as before"):
        run._work(ctx, plan, plan)


@pytest.mark.parametrize(("check", "changed"), [(False, True), (True, False)])
def test_a_slice_that_ends_in_the_middle_of_its_first_step_has_changed_something(check: bool, changed: bool) -> None:
    run, ctx, client = run_on(live())
    client.server = client.context = "x"  # type: ignore[attr-defined]
    plan, run.check = Plan("kw", ()), check
    assert not run._result(ctx, plan, plan, finished=False, at=STEP)["changed"]
    run._did(ctx)
    assert run._result(ctx, plan, plan, finished=False, at=STEP)["changed"] is changed


# ---- what the journal keeps of steps


def test_steps_with_their_times_reach_the_journal_with_the_next_one() -> None:
    run, ctx, _client = run_on(live())
    noted(run, ctx)
    run.times = [{"step": "upgrade/kw-2", "at": "10:00", "seconds": 4.0}]
    found = noted(run, ctx, replace(STEP, id="upgrade/kw-1", pod="kw-1"))
    assert found["steps"] == [{"step": "upgrade/kw-2", "at": "10:00", "seconds": 4.0}] and run.times == []
    assert found["at_step"]["id"] == "upgrade/kw-1" and found["at_step"]["run"] == "r1"


@pytest.mark.parametrize(
    ("run_id", "planned", "done"),
    [
        ("r1", (), ["upgrade/kw-2"]),
        ("r1", ("upgrade/kw-1",), ["upgrade/kw-2"]),
        ("r1", ("upgrade/kw-2", "upgrade/kw-1"), []),
        ("r2", (), []),
    ],
)
def test_what_a_slice_ended_in_the_middle_of_is_done_when_the_next_finds_it_so(
    run_id: str, planned: tuple[str, ...], done: list[str]
) -> None:
    """By the next slice of the same run; another run did nothing of it."""
    at = {"id": "upgrade/kw-2", "run": "r1", "since": time.time() - 9}
    run, ctx, _client = run_on(live(journal=during("upgrade", "upgrade/kw-2", at_step=at)), run_id=run_id)
    found = Plan("kw", tuple(Step(name, "x", "upgrade") for name in planned))
    run._count_ended(ctx, found)
    run._count_ended(ctx, found)  # looked at again under the lock: counted once
    assert run.done == done and [item["step"] for item in run.times] == done
    assert all(item["seconds"] >= 9 for item in run.times)


def test_who_is_told_to_leave_is_noted_before() -> None:
    run, ctx, _client = run_on(live(5, of=spec(replicas=5)), replicas=3)
    steps = tuple(Step(f"scale_in/kw-{number}", "x", "scale_in", pod=f"kw-{number}") for number in (4, 3))
    run._note(ctx, Plan("kw", steps), steps[0])
    assert ctx.seen.journal.leaving == {"pods": ["kw-3", "kw-4"], "replicas": 3}
    run._note(
        ctx,
        Plan("kw", (Step("recommission/kw-3", "x", "scale_in", pod="kw-3"),)),
        Step("recommission/kw-3", "x", "scale_in", pod="kw-3"),
    )
    assert ctx.seen.journal.leaving_pods == ["kw-3", "kw-4"], "putting one back adds nobody"


@pytest.mark.parametrize(
    ("replicas", "asked", "still"),
    [(5, 3, ["kw-3", "kw-4"]), (5, 4, ["kw-4"]), (5, 5, []), (4, 3, ["kw-3"]), (4, 4, []), (3, 3, [])],
)
def test_orders_to_leave_that_nobody_gives_any_more_are_forgotten(replicas: int, asked: int, still: list[str]) -> None:
    """Gone, or wanted to stay; else the next run would take away what this one was told to keep."""
    leaving = {"pods": ["kw-3", "kw-4"], "replicas": 3}
    seen = live(replicas, of=spec(replicas=replicas), journal=replace(during("scale_in"), leaving=leaving))
    _run, ctx, _client = run_on(seen, replicas=asked)
    close(ctx, Step("close", "x"))
    assert ctx.seen.journal.leaving_pods == still
    assert ctx.seen.journal.operation == {} and ctx.seen.journal.history[-1]["outcome"] == "done"


@pytest.mark.parametrize(
    ("step", "how"),
    [
        (Step("settle", "x"), {}),
        (Step("close", "x"), {}),
        (Step("pause", "x"), {}),
        (Step("remove/pods", "x", "remove"), {"state": "absent"}),
        (Step("volume/kw-3", "x", "create"), {"volumes_only": True}),
    ],
)
def test_what_is_no_operation_is_not_noted_as_one(step: Step, how: dict[str, Any]) -> None:
    run, ctx, client = run_on(live())
    for name, value in how.items():
        setattr(run, name, value)
    run._note(ctx, Plan("kw", (step,)), step)
    assert client.sent == [] and ctx.seen.journal == JOURNAL


def test_a_plan_that_only_waits_notes_nothing() -> None:
    run, ctx, client = run_on(live())
    run._note(ctx, Plan("kw", (Step("settle", "x"),)), STEP)
    assert client.sent == []


def test_an_upgrade_noted_without_its_origin_learns_it_while_it_can() -> None:
    run, ctx, _client = run_on(live(of=WAS, journal=during("upgrade", "upgrade/kw-2", image=NEW)))
    assert noted(run, ctx)["from"] == ORIGIN


def test_a_hold_of_options_is_not_where_an_upgrade_came_from() -> None:
    held = during("reconfigure", "reconfigure/kw-2", **{"from": {"image": "x:1", "options": {}}}).end("10:00", "held")
    run, ctx, _client = run_on(live(of=WAS, journal=held))
    assert noted(run, ctx)["from"] == ORIGIN


# ---- how far it is


def after(
    step: Step, later: list[Step], *, done: dict[str, float], journal: Journal = JOURNAL, replicas: int = 3
) -> list[str]:
    """What is said after a step. done: steps and their seconds."""
    run, ctx, _client = run_on(live(replicas, of=spec(replicas=replicas), journal=journal), replicas=replicas)
    run.times = [{"step": name, "seconds": seconds} for name, seconds in done.items()]
    run._say_how_far(ctx, step, later)
    return ctx.lines


def restarts(*ordinals: int) -> list[Step]:
    return [replace(STEP, id=f"upgrade/kw-{number}", pod=f"kw-{number}") for number in ordinals]


def test_after_each_pod_it_says_how_many_are_left_and_about_how_long() -> None:
    times = {"upgrade/kw-4": 30.0, "upgrade/kw-3": 50.0, "prepull": 500.0}
    others = [
        Step("finalize", "x", "finalize"),
        Step("scale_out/kw-5", "x", "scale_out", pod="kw-5"),
        Step("release", "x", "upgrade"),
    ]
    said = after(restarts(3)[0], [*restarts(2, 1, 0), *others], done=times, replicas=5)
    assert said == ["2 of 5 pods done   about 2 min left"]


def test_the_times_of_earlier_slices_count_too() -> None:
    earlier = during("upgrade", "upgrade/kw-1", steps=[{"step": "upgrade/kw-2", "seconds": 20.0}])
    said = after(restarts(1)[0], restarts(0), done={"upgrade/kw-1": 40.0}, journal=earlier)
    assert said == ["2 of 3 pods done   about 30 s left"]


@pytest.mark.parametrize(
    ("step", "later", "done"),
    [
        (restarts(0)[0], [], {"upgrade/kw-0": 4.0}),  # it is done
        (Step("prepull", "x", "upgrade"), restarts(2), {"upgrade/kw-2": 4.0}),
        (Step("scale_out/kw-3", "x", "scale_out", pod="kw-3"), [Step("scale_out/kw-4", "x", "scale_out", pod="kw-4")], {"scale_out/kw-3": 4.0}),
        (restarts(2)[0], restarts(1), {}),  # nobody knows how long one takes
    ],
)  # fmt: skip
def test_when_nothing_is_said(step: Step, later: list[Step], done: dict[str, float]) -> None:
    assert after(step, later, done=done) == []
