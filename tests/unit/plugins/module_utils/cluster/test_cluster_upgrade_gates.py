# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What stands before a pod's restart: the version path, the proven image, and a template that changes what was asked for."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import context as context_module
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import gates, rolling
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.context import Context
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.gates import Gate
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import Deep, Observed
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations import (
    cluster_version,
    upgrade_gates,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.run import Run
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.errors import EngineError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    FAR,
    JOURNAL,
    NEW,
    OLD,
    REQUIRED,
    deep,
    ids,
    live,
    mid_upgrade,
    pod,
    ranges,
    row,
    silent,
    spec,
    spec_over,
    statefulset,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock


class Settings:
    """An engine that knows these cluster settings."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known, self.asked = known, []
        self.past: str | None = None  # seconds since the setting was made

    def sql_rows(self, _statement: str) -> list[dict[str, str | None]]:
        if self.past == "broken":
            raise EngineError("sql", "relation does not exist")
        return [] if self.past == "default" else [{"past": self.past}]

    def setting(self, name: str) -> str:
        self.asked.append(name)
        return self.known.get(name, "")

    def sql(self, statement: str, *, repeatable: bool) -> None:
        """SET or RESET, which may never be answered."""
        assert repeatable
        self.asked.append(statement)
        if self.past == "broken":
            raise EngineError("cut", "the stream ended")


def context(
    seen: Observed,
    *,
    known: Deep | None = None,
    settings: dict[str, str] | None = None,
    past: str | None = "86400",
    **asked: Any,
) -> Context:
    """A run that asks for this on a cluster that looks so."""
    made = spec_over(seen, **asked)
    ctx = Context(Client(Clock()), made, PROFILES[made.engine], "ann")  # type: ignore[arg-type]
    ctx.seen = seen
    ctx.engine = Settings(settings or {})  # type: ignore[assignment]
    ctx.engine.past = past  # type: ignore[attr-defined]
    ctx.deep = lambda: known or deep()  # type: ignore[method-assign]
    return ctx


def built(*builds: str | None, **more: Any) -> Observed:
    """A cluster whose nodes say that they are of these builds."""
    return live(
        len(builds), nodes=[row(number + 1, number, build=build) for number, build in enumerate(builds)], **more
    )


def told(found: list[Gate]) -> list[tuple[str, str, str, bool]]:
    return [(gate.name, gate.value, gate.limit, gate.holds) for gate in found]


# ---- what holds the cluster version: the engine's word, not the journal's

OPTION = "cluster.preserve_downgrade_option"
HELD = {"version": "20.1-3", "image": NEW, "since": "09:00", "who": "bob", "set": True}
NOT_SET = {**HELD, "set": False}


def far(held: Any = None) -> Observed:
    return built("V3.3.0", "V3.3.0", "V3.3.0", of=spec(image=FAR), journal=replace(JOURNAL, unfinalized=held or {}))


@pytest.mark.parametrize(
    ("noted", "says", "known"),
    [
        ({}, "", {}),
        (HELD, "20.1-3", HELD),
        (HELD, "", NOT_SET),  # RESET by hand
        (NOT_SET, "", NOT_SET),
        (NOT_SET, "20.1-3", HELD),
        ({}, "20.1-3", {"version": "20.1-3", "set": True}),  # the journal was lost
        (HELD, "20.2", {"version": "20.2", "set": True}),
    ],
)
def test_what_is_held_is_what_the_engine_says(noted: Any, says: str, known: Any) -> None:
    assert rolling.with_hold(replace(JOURNAL, unfinalized=noted), says).unfinalized == known


@pytest.mark.parametrize(
    ("case", "seen", "asked", "asks"),
    [
        ("nothing to do", live(), {}, False),
        ("nothing to do, after an upgrade", far(), {}, False),
        ("other options", live(), {"cache": "1GiB"}, False),
        ("both bring the same", live(), {"image": NEW}, False),
        ("it may rise", live(), {"image": FAR}, True),
        ("something is noted", far(HELD), {}, True),
        ("it is to be finalised", far(), {"operations": ["finalize"]}, True),
        ("nobody answers", silent(far(HELD)), {"operations": ["finalize"]}, False),
    ],
)
def test_the_engine_is_asked_only_where_a_plan_depends_on_it(
    case: str, seen: Observed, asked: dict[str, Any], asks: bool
) -> None:
    ctx = context(seen, **asked)
    Run(ctx.client, REQUIRED).plan(ctx, look=False)
    assert (OPTION in ctx.engine.asked) is asks, case  # type: ignore[attr-defined]


def planned(seen: Observed, held: str, **asked: Any) -> list[str]:
    ctx = context(seen, settings={OPTION: held, "version": "20.1-3"}, **asked)
    return ids(Run(ctx.client, REQUIRED).plan(ctx, look=False))


def test_a_hold_that_was_let_go_by_hand_is_made_again_for_the_next_release() -> None:
    assert "preserve" in planned(far(HELD), "", image="kwdb/kwdb:3.4.0")
    assert "preserve" not in planned(far(HELD), "20.1-3", image="kwdb/kwdb:3.4.0")


def test_a_hold_of_which_the_journal_knows_nothing_ends_with_its_finalisation() -> None:
    assert planned(far(), "20.1-3", operations=["upgrade", "finalize"]) == ["finalize"]
    assert planned(far(), "", operations=["upgrade", "finalize"]) == []


@pytest.mark.parametrize(
    ("noted", "active", "version", "image"),
    [
        ({}, "20.1-3", "20.1-3", FAR),
        (NOT_SET, "20.1-3", "20.1-3", NEW),  # not risen yet: the way back is as long as it was
        (NOT_SET, "20.2", "20.2", FAR),  # risen since
    ],
)
def test_the_version_that_the_engine_has_is_the_one_that_is_held(
    noted: Any, active: str, version: str, image: str
) -> None:
    ctx = context(far(noted), image="kwdb/kwdb:3.4.0", settings={"version": active})
    cluster_version.preserve(ctx, Step("preserve", "x", "upgrade"))
    assert ctx.engine.asked == ["version", f"SET CLUSTER SETTING {OPTION} = '{active}'"]  # type: ignore[attr-defined]
    found = ctx.seen.journal.unfinalized
    assert (found["version"], found["image"], found["set"]) == (version, image, True)


def test_a_finalisation_that_dies_leaves_no_hold_in_the_journal() -> None:
    ctx = context(far(HELD), image=FAR, past="broken")
    with pytest.raises(EngineError):
        cluster_version.finalize(ctx, Step("finalize", "x", "finalize", facts={"undone": True}))
    assert ctx.engine.asked == [f"RESET CLUSTER SETTING {OPTION}"]  # type: ignore[attr-defined]
    assert ctx.seen.journal.unfinalized == NOT_SET
    assert planned(ctx.seen, "", operations=["finalize"]) == ["finalize"], "and is seen through by the next run"


# ---- from the version that runs to the one asked for


@pytest.mark.parametrize(
    ("builds", "image", "value", "holds"),
    [
        (("V3.2.1", "V3.2.1", "V3.2.1"), NEW, "3.2.1→3.2.2", True),
        (("V3.2.1-28-gabc", "V3.2.1", "V3.2.1"), NEW, "3.2.1→3.2.2", True),
        (("V2.2.2", "V2.2.2", "V2.2.2"), NEW, "2.2.2→3.2.2", False),
        (("V3.2.1", "V3.2.1", "V2.2.2"), NEW, "2.2.2→3.2.2", False),  # one is enough to refuse
        ((None, None, None), NEW, "3.2.1→3.2.2", True),  # the pods' image tells
        (("V3.2.1", "V3.2.1", "V3.2.1"), "kwdb/kwdb:latest", "3.2.1→unknown", True),
    ],
)
def test_version_path(builds: tuple[str | None, ...], image: str, value: str, holds: bool) -> None:
    found = upgrade_gates.version_path(context(built(*builds), image=image))
    assert [(gate.name, gate.value, gate.holds) for gate in found] == [("version_path", value, holds)]
    if not holds:
        assert found[0].sentence == "2.2.2→3.2.2: 2.x to 3.x is not possible in place: export and import."


def test_what_the_nodes_say_counts_before_what_the_images_say() -> None:
    """A tag may have been pushed again."""
    ctx = context(built("V2.2.2", "V2.2.2", "V2.2.2", of=spec(image=OLD)), image=NEW)
    assert upgrade_gates.version_path(ctx)[0].value == "2.2.2→3.2.2"
    assert upgrade_gates.version_path(context(silent(live()), image=NEW))[0].value == "3.2.1→3.2.2"


def test_an_image_without_a_version_is_told_by_its_pre_pull() -> None:
    latest = "kwdb/kwdb:latest"
    for pulled, value in (
        ({"image": latest, "build": "V2.2.2"}, "3.2.1→2.2.2"),
        ({"image": NEW, "build": "V2.2.2"}, "3.2.1→unknown"),
        ({}, "3.2.1→unknown"),
    ):
        seen = built("V3.2.1", "V3.2.1", "V3.2.1", journal=replace(JOURNAL, pulled=pulled))
        (found,) = upgrade_gates.version_path(context(seen, image=latest))
        assert found.value == value and found.holds is (value == "3.2.1→unknown")


@pytest.mark.parametrize(("value", "holds"), [("0s", True), ("00:00:00", True), ("10s", False), ("", False)])
def test_a_setting_that_must_be_made_before(value: str, holds: bool) -> None:
    ctx = context(
        built("V3.1.0", "V3.1.0", "V3.1.0"), image=NEW, settings={"ts.raft_log.sync_period": value} if value else {}
    )
    path, need, *lasts = upgrade_gates.version_path(ctx)
    assert (
        path.holds
        and bool(lasts) is holds
        and told([need]) == [("version_path", f"ts.raft_log.sync_period = {value}", "= 0s", holds)]
    )
    assert need.sentence == (
        "Run SET CLUSTER SETTING ts.raft_log.sync_period = '0s' first; the next run waits until that is 300 s ago."
    )


@pytest.mark.parametrize(
    ("past", "left"),
    [("0.4", 300), ("31", 270), ("299", 30), ("300.1", 0), ("86400", 0), ("-28800", 300), ("default", 300), (None, 300), ("broken", 300)],
)  # fmt: skip
def test_a_setting_must_have_lasted(past: str | None, left: int) -> None:
    """Where the engine does not tell since when it is so, this run waits all of the time itself."""
    ctx = context(built("V3.1.0", "V3.1.0", "V3.1.0"), image=NEW, settings={"ts.raft_log.sync_period": "0s"}, past=past)
    found = upgrade_gates.version_path(ctx)[-1]
    assert told([found]) == [("setting_lasts", f"{left} s left" if left else "long enough", "300 s", not left)]
    assert found.waits is bool(left)
    if left:
        assert found.sentence == f"ts.raft_log.sync_period has not been 0s for 300 s yet, about {left} s are left."


def test_what_the_engine_does_not_tell_is_counted_over_the_slices_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(context_module, "time", clock)
    ctx = context(
        built("V3.1.0", "V3.1.0", "V3.1.0"), image=NEW, settings={"ts.raft_log.sync_period": "0s"}, past="default"
    )
    values = []
    for _turn in range(3):
        values.append(upgrade_gates.version_path(ctx)[-1].value)
        clock.now += 150
    assert values == ["300 s left", "150 s left", "long enough"]


@pytest.mark.parametrize(
    ("active", "holds"),
    [("20.1-3", True), ("20.1-1", True), ("20.1", True), ("20.1-4", False), ("20.2", False), ("20.1-10", False)],
)
def test_the_way_back_ends_where_the_version_was_finalised(active: str, holds: bool) -> None:
    ctx = context(built("V3.3.0", "V3.3.0", "V3.3.0", of=spec(image=FAR)), image=NEW, settings={"version": active})
    path, back = upgrade_gates.version_path(ctx)
    assert path.holds and told([back]) == [("version_path", f"cluster version {active}", "≤ 20.1-3", holds)]
    assert back.sentence == (
        f"The cluster was finalised at {active}; {NEW} only reads up to 20.1-3. Go forward, or export and import."
    )
    assert gates.judge([back], ["version_path"])[0].waived is False


def test_going_forward_asks_no_setting() -> None:
    ctx = context(built("V3.2.1", "V3.2.1", "V3.2.1"), image=FAR)
    assert len(upgrade_gates.version_path(ctx)) == 1 and ctx.engine.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "builds", [("V3.2.2", "V3.2.2", "V3.3.0"), ("V3.2.2", "V3.4.0", "V3.2.2"), ("V3.5.1", "V3.2.2", "V3.2.2")]
)
def test_half_way_back_one_pod_is_enough_to_ask(builds: tuple[str, ...]) -> None:
    """Two nodes run the old release already, the third is to follow."""
    seen = built(*builds, of=spec(image=FAR))
    found = upgrade_gates.version_path(context(seen, image=NEW, settings={"version": "20.2"}))
    assert [gate.holds for gate in found] == [True, False]


@pytest.mark.parametrize(
    "builds", [("V3.2.2", "V3.2.2", "V3.1.0"), ("V3.0.0", "V3.2.2", "V3.2.2"), ("V3.2.2", "V3.1.7", "V3.2.2")]
)
def test_half_way_on_one_pod_is_enough_to_need_a_setting(builds: tuple[str, ...]) -> None:
    found = upgrade_gates.version_path(context(built(*builds), image=NEW, settings={"ts.raft_log.sync_period": "10s"}))
    assert [gate.holds for gate in found] == [True, False]


def test_where_nobody_knows_what_a_release_reads_the_way_back_is_not_judged() -> None:
    seen = built("release2.1", of=spec(engine="bini", image="bini/bini:release2.1"))
    ctx = context(seen, image="bini/bini:release2.0", settings={"version": "20.1"})
    assert [gate.holds for gate in upgrade_gates.version_path(ctx)] == [True]


# ---- the image that was run once


@pytest.mark.parametrize(
    ("nodes", "image", "value", "holds", "missing"),
    [
        (["w1", "w2", "w3"], NEW, "3 of 3", True, ""),
        (["w1", "w2", "w3", "w9"], NEW, "3 of 3", True, ""),
        (["w1", "w3"], NEW, "2 of 3", False, "w2"),
        ([], NEW, "0 of 3", False, "w1, w2, w3"),
        (["w1", "w2", "w3"], OLD, "0 of 3", False, "w1, w2, w3"),
    ],
)
def test_the_image_ran_on_every_node_that_needs_it(
    nodes: list[str], image: str, value: str, holds: bool, missing: str
) -> None:
    seen = live(journal=replace(JOURNAL, pulled={"image": image, "nodes": nodes}))
    step = Step("upgrade/kw-2", "x", "upgrade", pod="kw-2", facts={"ordinal": 2, "pre_pull": ["w1", "w2", "w3"]})
    found = next(gate for gate in upgrade_gates.before(context(seen, image=NEW), step) if gate.name == "image_pullable")
    assert told([found]) == [("image_pullable", value, "all", holds)]
    if not holds:
        assert (
            found.sentence == f"The new image has not been run on {missing} yet; step prepull does it." and found.waits
        )


# ---- which gates


def upgrade(**facts: Any) -> Step:
    return Step("upgrade/kw-2", "x", "upgrade", pod="kw-2", facts={"ordinal": 2, "options": [], **facts})


def test_every_gate_of_a_restart() -> None:
    names = [gate.name for gate in upgrade_gates.before(context(live(), image=NEW), upgrade(pre_pull=["w3"]))]
    common = [gate.name for gate in gates.common(live(), deep(), None)]
    assert names == [*common, "claims_kept", "version_path", "image_pullable"]
    assert "image_pullable" not in [gate.name for gate in upgrade_gates.before(context(live(), image=NEW), upgrade())]


@pytest.mark.parametrize("down", [pod(2, ready=False), None])
def test_a_pod_that_is_down_may_always_be_repaired(down: Any) -> None:
    """Its own failure is why the ranges are not whole; restarting it takes nothing from anybody."""
    seen = live(
        pods=[pod(0), pod(1), *([down] if down else [])], nodes=[row(1, 0), row(2, 1), row(3, 2, is_live=False)]
    )
    ctx = context(seen, known=deep(ranges((1, 3))), image=NEW)
    assert [gate.name for gate in upgrade_gates.before(ctx, upgrade(pre_pull=["w3"]))] == [
        "version_path",
        "image_pullable",
    ]
    assert gates.failed(upgrade_gates.before(ctx, upgrade())) == []
    other = replace(upgrade(), id="upgrade/kw-1", pod="kw-1")
    assert "nodes_live" in [gate.name for gate in gates.failed(upgrade_gates.before(ctx, other))]


SILENT_KUBELET = [pod(0), pod(1), pod(2, ready=False)]


def test_a_pod_that_is_not_ready_is_judged_as_long_as_its_node_lives() -> None:
    """kw-0 is dead, and the kubelet of kw-2 is silent: to end kw-2 would take the second of three away."""
    seen = live(pods=SILENT_KUBELET, nodes=[row(1, 0, is_live=False), row(2, 1), row(3, 2)])
    ctx = context(seen, known=deep(ranges((1, 2, 3))), image=NEW)
    assert "nodes_live" in [gate.name for gate in gates.failed(upgrade_gates.before(ctx, upgrade()))]
    revert = replace(upgrade(), id="revert/kw-2")
    assert "nodes_live" in [gate.name for gate in gates.failed(upgrade_gates.before(ctx, revert))]


def test_where_the_engine_is_silent_only_a_container_that_does_not_run_is_down() -> None:
    """A new template may be all that mends pods that crash; of pods that run, nobody can tell what they hold together."""
    ctx = context(silent(live(pods=[pod(0, ready=False), pod(1, ready=False), pod(2, ready=False)])), image=NEW)
    assert [gate.name for gate in gates.failed(upgrade_gates.before(ctx, upgrade()))] == ["engine_answers"]
    crashing = pod(2, ready=False, waiting=("CrashLoopBackOff", ""), restarts=5)
    ctx = context(silent(live(pods=[pod(0, ready=False), pod(1, ready=False), crashing])), image=NEW)
    assert [gate.name for gate in upgrade_gates.before(ctx, upgrade())] == ["version_path"]


def test_a_pod_that_stops_already_is_judged_as_long_as_its_template_is_not_written() -> None:
    stopping = [pod(0), pod(1), pod(2, ready=False, deleting=True)]
    nodes = [row(1, 0, is_live=False), row(2, 1), row(3, 2, is_draining=True)]
    ctx = context(live(pods=stopping, nodes=nodes), image=NEW)
    assert "nodes_live" in [gate.name for gate in gates.failed(upgrade_gates.before(ctx, upgrade()))]
    written = statefulset(spec(image=NEW), partition=2)
    written["status"]["updateRevision"] = "r2"
    ctx = context(live(sts=written, pods=stopping, nodes=nodes), image=NEW)
    assert gates.failed(upgrade_gates.before(ctx, upgrade())) == [], "this operation ended it, and only waits for it"


def test_a_pod_that_was_restarted_in_an_earlier_slice_is_only_waited_for() -> None:
    half = mid_upgrade()
    nodes = [row(1, 0), row(2, 1), row(3, 2, is_live=False)]
    ctx = context(replace(half, nodes=tuple(nodes)), image=NEW)
    assert upgrade_gates.before(ctx, upgrade()) == [], "kw-2 has the new template already"
    other = replace(upgrade(), id="upgrade/kw-1", pod="kw-1")
    assert "nodes_live" in [gate.name for gate in gates.failed(upgrade_gates.before(ctx, other))]


def test_without_an_answer_nothing_more_is_asked() -> None:
    ctx = context(silent(live()), image=NEW)
    assert [gate.name for gate in upgrade_gates.before(ctx, upgrade())] == ["engine_answers", "claims_kept"]


# ---- a template that changes what was asked for, and nothing else


def reconfiguring(seen: Observed, **asked: Any) -> tuple[Context, Step]:
    ctx = context(seen, **asked)
    options = [name for name in asked if name != "image"]
    return ctx, Step("reconfigure/kw-2", "x", "reconfigure", pod="kw-2", facts={"ordinal": 2, "options": options})


def edited(change: Any, **options: Any) -> Observed:
    """A StatefulSet whose template somebody, or an older version of the collection, wrote differently."""
    made = statefulset(spec(**options))
    change(made["spec"]["template"])
    return live(of=spec(**options), sts=made)


@pytest.mark.parametrize(
    "asked",
    [
        {"cache": "1GiB"}, {"memory": "2Gi"}, {"cpu": "2", "memory": "2Gi"}, {"env": {"A": "1"}}, {"restart_id": "1"}, {"pod_labels": {"a": "b"}},
        {"extra_args": ["--x"]}, {"anti_affinity": "preferred"}, {"termination_grace_period": 9}, {"pre_stop_seconds": 0},
        {"tolerations": [{"operator": "Exists"}]},
        {"node_selector": {"a": "b"}}, {"pod_overrides": {"spec": {"hostNetwork": True}}}, {"cache": "1GiB", "image": NEW},
    ],
)  # fmt: skip
def test_what_the_options_stand_for_is_expected(asked: dict[str, Any]) -> None:
    ctx, step = reconfiguring(live(), **asked)
    (found,) = upgrade_gates.template_expected(ctx, step)
    assert (
        found.name == "template_expected"
        and found.holds
        and found.value.startswith("0 of ")
        and found.limit == "0 others"
    )
    assert not found.value.endswith(" of 0"), "something does change"
    assert ctx.client.sent == [("dry run", "StatefulSet", "kw")]  # type: ignore[attr-defined]


def test_an_option_that_was_set_before_goes_away() -> None:
    ctx, step = reconfiguring(live(of=spec(memory="2Gi", cache="1GiB")), memory="4Gi")
    assert upgrade_gates.template_expected(ctx, step)[0].holds


def by_hand(template: dict[str, Any]) -> None:
    template["spec"]["containers"][0]["livenessProbe"]["periodSeconds"] = 99
    template["spec"]["hostNetwork"] = True


def test_what_somebody_changed_by_hand_would_change_back() -> None:
    ctx, step = reconfiguring(edited(by_hand), cache="1GiB")
    (found,) = upgrade_gates.template_expected(ctx, step)
    assert (found.value, found.holds) == ("2 of 3", False)
    assert found.sentence.startswith(
        "Not asked for, but it would change too: spec.containers[0].livenessProbe.periodSeconds, spec.hostNetwork (changed by hand, or"
    )
    assert gates.judge([found], ["template_expected"])[0].waived


@pytest.mark.parametrize(
    ("count", "says"), [(5, "spec.added4 (changed by hand"), (7, "spec.added4 … (changed by hand")]
)
def test_many_surprises_are_shortened(count: int, says: str) -> None:
    def much(template: dict[str, Any]) -> None:
        template["spec"].update({f"added{number}": 1 for number in range(count)})

    ctx, step = reconfiguring(edited(much), cache="1GiB")
    (found,) = upgrade_gates.template_expected(ctx, step)
    assert found.value == f"{count} of {count + 1}" and says in found.sentence and "added5" not in found.sentence


def test_what_the_server_adds_is_no_surprise() -> None:
    def defaults(template: dict[str, Any]) -> None:
        template["spec"]["dnsPolicy"] = "ClusterFirst"
        template["spec"]["containers"][0]["terminationMessagePath"] = "/dev/termination-log"

    ctx, step = reconfiguring(edited(defaults), cache="1GiB")

    def server(obj: dict[str, Any]) -> dict[str, Any]:
        defaults(obj["spec"]["template"])
        return obj

    ctx.client.on_dry_run = server  # type: ignore[attr-defined]
    assert upgrade_gates.template_expected(ctx, step)[0].holds


def test_the_dry_run_restarts_nothing_and_scales_nothing() -> None:
    ctx, step = reconfiguring(live(5, of=spec(replicas=5)), cache="1GiB", replicas=3)
    seen: list[dict[str, Any]] = []
    ctx.client.on_dry_run = lambda obj: (seen.append(copy.deepcopy(obj)), obj)[1]  # type: ignore[attr-defined]
    upgrade_gates.template_expected(ctx, step)
    assert seen[0]["spec"]["replicas"] == 5 and seen[0]["spec"]["updateStrategy"]["rollingUpdate"] == {"partition": 5}


def test_without_options_or_with_the_template_written_nothing_is_asked() -> None:
    ctx, step = reconfiguring(live(), cache="1GiB")
    assert upgrade_gates.template_expected(ctx, replace(step, facts={"ordinal": 2, "options": []})) == []
    written = live(of=spec(cache="1GiB"))
    ctx = context(written, cache="1GiB")
    assert upgrade_gates.template_expected(ctx, step) == [] and ctx.client.sent == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("expected", "path", "covers"),
    [
        ("spec.a", "spec.a", True), ("spec.a", "spec.a.b", True), ("spec.a.b", "spec.a", True), ("spec.a", "spec.a[0].b", True),
        ("spec.a[0].b", "spec.a", True),
        ("spec.a", "spec.ab", False), ("spec.ab", "spec.a", False), ("spec.a[1]", "spec.a[10]", False), ("spec.a[1].b", "spec.a[10].b", False),
        ("spec.a.b", "spec.a.c", False),
    ],
)  # fmt: skip
def test_what_lies_in_what_was_expected(expected: str, path: str, covers: bool) -> None:
    assert upgrade_gates._covers(expected, path) is covers
