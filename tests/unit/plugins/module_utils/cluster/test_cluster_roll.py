# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""One pod's turn, cut into slices as a run cuts it: what it waits for, how long, and whom it takes for down. The clock is faked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import context as context_module
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.context import Context, Paused
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import Observed
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations import rollout
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    JOURNAL,
    NEW,
    deep,
    during,
    live,
    named,
    pod,
    ranges,
    row,
    spec,
    spec_over,
    statefulset,
    told,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock

STEP = Step("upgrade/kw-2", "x", "upgrade", pod="kw-2", facts={"ordinal": 2, "options": []})
UNDER_WAY = during("upgrade", "upgrade/kw-2", image=NEW)
SLICES = (5.0, 10.0, 20.0, 30.0)


class World:
    """What every look finds, by the clock. started: when the turn began."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.started = clock, clock.now
        self.pods: Callable[[], Iterable[Any]] = lambda: [pod(0), pod(1), pod(2, image=NEW, revision="r2")]
        self.live: Callable[[], set[int]] = lambda: {1, 2, 3}
        self.ranges = ranges()
        self.set = statefulset(spec(image=NEW), partition=2)
        self.set["status"]["updateRevision"] = "r2"
        self.journal = UNDER_WAY
        self.ended: set[str] = set()  # pods that somebody deleted
        self.events: list[dict[str, str]] = []
        self.log = ""

    @property
    def past(self) -> float:
        return self.clock.now - self.started

    def seen(self) -> Observed:
        def one(number: int) -> Any:
            alive, ended = number in self.live(), f"kw-{number - 1}" in self.ended
            build = "V3.2.2" if number == 3 or ended else "V3.2.1"
            return row(number, number - 1, build=build, is_live=alive, is_available=alive)

        rows = [one(number) for number in (1, 2, 3)]
        return live(of=spec(image=NEW), sts=self.set, pods=list(self.pods()), nodes=rows, journal=self.journal)


class Sight(Context):
    """A context whose looks find the world, and whose pauses let its clock move."""

    world: World

    def look_at_pods(self) -> Any:
        self.seen = replace(
            self.seen,
            objects={**self.seen.objects, "Pod": named(*self.world.pods()), "StatefulSet": named(self.world.set)},
        )
        return self.seen.pods

    def ask_engine(self) -> Observed:
        self.look_at_pods()
        self.seen = replace(self.seen, nodes=self.world.seen().nodes)
        return self.seen

    def look(self) -> Observed:
        return self.ask_engine()

    def deep(self) -> Any:
        return deep(self.world.ranges, whole_for=99.0, apart=15.0)

    def pause(self, seconds: float = 2.0) -> None:
        self.check_time()
        left = seconds if self.deadline is None else min(seconds, max(0.05, self.deadline - self.world.clock.now))
        self.world.clock.now += left


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    clock = Clock()
    monkeypatch.setattr(context_module, "time", clock)
    monkeypatch.setattr(rollout, "time", clock)
    return World(clock)


def turn(
    world: World, step: Step = STEP, act: Any = rollout.roll, limit: float = 1500.0, **asked: Any
) -> tuple[Sight, float]:
    """The step in slices to its end, and the seconds it took. Fails when it is still under way at the limit."""
    carry: Any = {}
    turns = 0
    while world.past < limit:
        client = Client(world.clock)
        client.event_list, client.log_text = world.events, {True: "", False: world.log}
        client.delete = lambda _kind, name, *_where, **_how: world.ended.add(name)  # type: ignore[assignment, method-assign, misc]
        client.put(world.set)
        made = spec_over(world.seen(), **{"image": NEW, **asked})
        seconds = SLICES[min(turns, len(SLICES) - 1)]
        ctx = Sight(
            client, made, PROFILES["kwdb"], "ann", run_id="r1", seconds=seconds, carry=json.loads(json.dumps(carry))
        )  # type: ignore[arg-type]
        ctx.world, ctx.seen = world, world.seen()
        turns += 1
        try:
            ctx.check_time()
            act(ctx, step)
        except Paused:
            carry, world.journal = ctx.carry, ctx.seen.journal
            continue
        world.journal = ctx.seen.journal
        return ctx, world.past
    raise AssertionError(f"still under way after {world.past:.0f} s and {turns} slices")


def in_time() -> str:
    """A deletionTimestamp that is still to come."""
    return (datetime.now(timezone.utc) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("soak", [0, 20, 40, 200])
def test_a_soak_ends_however_many_slices_it_takes(world: World, soak: int) -> None:
    _ctx, took = turn(world, soak=soak)
    assert soak <= took <= soak + 20


def test_ranges_that_are_never_whole_end_the_wait(world: World) -> None:
    world.ranges = ranges((1, 2))
    with pytest.raises(ClusterError, match="under-replicated, unchanged for") as error:
        turn(world, wait_timeout=120)
    assert error.value.reason == "timeout" and 120 <= world.past <= 180


def test_a_pod_that_starts_slowly_was_not_down_before(world: World) -> None:
    """It is this operation that restarted it."""
    world.pods = lambda: [pod(0), pod(1), pod(2, image=NEW, revision="r2", ready=world.past > 90)]
    world.live = lambda: {1, 2, 3} if world.past > 90 else {1, 2}
    ctx, took = turn(world)
    assert took > 90 and not any("was down before" in line for line in ctx.lines)
    assert "down" not in world.journal.operation


def test_a_pod_that_stops_slowly_was_not_down_before(world: World) -> None:
    def pods() -> list[Any]:
        stopping = pod(2, ready=False, deleting=True)
        stopping["metadata"]["deletionTimestamp"] = in_time()
        return [pod(0), pod(1), stopping if world.past < 60 else pod(2, image=NEW, revision="r2")]

    world.pods = pods
    ctx, took = turn(world)
    assert took >= 60 and not any("was down before" in line for line in ctx.lines)


def test_a_pod_that_was_down_before_does_not_hold_up_the_others(world: World) -> None:
    """Nor in the slices after it was made anew, for the journal knows."""
    world.pods = lambda: [
        pod(0), pod(1), pod(2, ready=False, waiting=("ContainerCreating", "")) if world.past < 8 else pod(2, image=NEW, revision="r2", ready=False),
    ]  # fmt: skip
    world.live = lambda: {1, 2}
    ctx, took = turn(world)
    assert took < 60 and any("was down before and does not come back" in line for line in ctx.lines)
    assert world.journal.operation["down"] == ["kw-2"]


def test_one_whose_process_hangs_has_its_grace_to_end(world: World) -> None:
    """Passed over while it ends, it would be called down though its successor serves a minute later."""

    def pods() -> list[Any]:
        hung = pod(2, ready=False, deleting=world.past > 2)
        if world.past > 2:
            hung["metadata"]["deletionTimestamp"] = in_time()
        return [pod(0), pod(1), hung if world.past < 100 else pod(2, image=NEW, revision="r2")]

    world.pods = pods
    world.live = lambda: {1, 2} if world.past < 100 else {1, 2, 3}
    ctx, took = turn(world)
    assert took >= 100 and not any("does not come back" in line for line in ctx.lines)


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        (("ContainerCreating", ""), "volume_mount"),
        (("CrashLoopBackOff", ""), "container_crash"),
        (("ImagePullBackOff", ""), "image_pull"),
    ],
)
def test_only_its_volume_or_its_node_lets_a_pod_that_was_down_be_passed_over(
    world: World, waiting: tuple[str, str], reason: str
) -> None:
    """What is new might be why it crashes, and then would fail on the others too."""
    if reason == "volume_mount":
        world.events = [{"reason": "FailedMount", "message": 'path "/data/kw-2" does not exist'}]
    old = pod(2, ready=False, waiting=("ContainerCreating", ""))
    new = pod(2, image=NEW, revision="r2", ready=False, waiting=waiting)
    world.pods = lambda: [pod(0), pod(1), old if world.past < 8 else new]
    world.live = lambda: {1, 2}
    if reason == "volume_mount":
        ctx, took = turn(world)
        assert took < 60 and any("cannot mount its volume" in line and "the others go on" in line for line in ctx.lines)
    else:
        with pytest.raises(ClusterError) as error:
            turn(world)
        assert error.value.reason == reason


def test_a_pod_above_that_is_down_on_the_new_template_already_holds_nobody_up(world: World) -> None:
    """Passed over by an earlier run, whose journal is closed; the controller waits for it for ever, so the old pod below is ended here."""
    stuck = pod(2, image=NEW, revision="r2", ready=False, waiting=("ContainerCreating", ""))
    world.pods = lambda: [pod(0), pod(1, image=NEW, revision="r2") if "kw-1" in world.ended else pod(1), stuck]
    world.live, world.ranges = lambda: {1, 2}, ranges((1, 2), wanted=2)
    step = Step("upgrade/kw-1", "x", "upgrade", pod="kw-1", facts={"ordinal": 1, "options": []})
    _ctx, took = turn(world, step, waive=["nodes_live"])
    assert took < 60 and world.ended == {"kw-1"} and world.journal.operation["down"] == ["kw-2"]


@pytest.mark.parametrize(("fields", "deletes"), [(True, 0), (False, 1)])
def test_a_pod_whose_image_a_webhook_rewrites_is_not_ended_again_and_again(
    world: World, fields: bool, deletes: int
) -> None:
    """Where nobody tells who changed it, once."""
    gone: list[str] = []

    def pods() -> list[Any]:
        fresh = pod(2, image="mirror/kwdb:3.2.2", revision="r2")
        fresh["metadata"]["uid"] = f"pod-2-{len(gone)}"
        return [pod(0), pod(1), told(fresh) if fields else fresh]

    def act(ctx: Sight, step: Step) -> None:
        ctx.client.delete = lambda *_what, uid: gone.append(uid)  # type: ignore[assignment, method-assign, misc]
        rollout.roll(ctx, step)

    world.pods = pods
    turn(world, act=act)
    assert len(gone) == deletes


@pytest.mark.parametrize("noted", [[], ["kw-2"]])
def test_a_pod_that_lived_when_its_turn_came_holds_up_the_others(world: World, noted: list[str]) -> None:
    """Whatever Kubernetes said of it, or it was when the operation began: while it is away, no other one may go."""
    world.journal = replace(JOURNAL, operation={**UNDER_WAY.operation, "down": noted})
    world.pods = lambda: [
        pod(0), pod(1), pod(2, ready=False) if world.past < 8 else pod(2, image=NEW, revision="r2", ready=False),
    ]  # fmt: skip
    world.live = lambda: {1, 2, 3} if world.past < 8 else {1, 2}
    with pytest.raises(ClusterError) as error:
        turn(world, wait_timeout=120, waive=["ranges_steady"])
    assert error.value.reason == "timeout" and world.past > 120


def test_what_the_controller_has_not_seen_yet_is_not_done(world: World) -> None:
    """Its revisions are those of the template before, by which every pod would be new."""
    of = spec(image=NEW)
    unseen, after = statefulset(of, partition=3, seen=False), statefulset(of, partition=2)
    after["status"]["updateRevision"] = "r2"
    world.set = unseen
    world.pods = lambda: [pod(0), pod(1), pod(2, image=NEW, revision="r2") if world.past > 30 else pod(2)]

    def sees() -> set[int]:
        if world.past > 12:
            world.set = after
        return {1, 2, 3}

    world.live = sees
    _ctx, took = turn(world, waive=["ranges_steady"])
    assert took > 30, "the pod's own turn, not only the template's"


def test_a_pod_down_on_a_template_that_is_left_comes_back_on_the_one_before(world: World) -> None:
    world.set = statefulset(spec(), partition=3)  # the old template again
    world.set["status"].update(updateRevision="r1", currentRevision="r1")
    gone: list[tuple[str, str, str]] = []

    def pods() -> list[Any]:
        crashing = pod(1, image=NEW, revision="r2", ready=False, waiting=("CrashLoopBackOff", ""), restarts=5)
        return [pod(0), pod(1, ready=world.past > 6) if gone else crashing, pod(2, image=NEW, revision="r2")]

    world.pods = pods
    world.live = lambda: {1, 2, 3} if gone and world.past > 6 else {1, 3}
    step = Step("revert/kw-1", "x", "upgrade", pod="kw-1", facts={"ordinal": 1, "options": []})

    def delete(kind: str, name: str, _namespace: str, *, uid: str) -> None:
        gone.append((kind, name, uid))

    def act(ctx: Sight, this: Step) -> None:
        ctx.client.delete = delete  # type: ignore[assignment, method-assign]
        rollout.revert(ctx, this)

    ctx, _took = turn(world, step, act, image="kwdb/kwdb:3.2.1")
    assert gone == [("Pod", "kw-1", "pod-1")] and ctx.lines[-1] == "kw-1 runs kwdb/kwdb:3.2.1 again"


def test_the_journal_keeps_who_was_down_no_longer_than_the_operation() -> None:
    noted = replace(JOURNAL, operation={**UNDER_WAY.operation, "down": ["kw-2"]})
    assert "down" not in noted.end("10:00", "done").history[-1]
