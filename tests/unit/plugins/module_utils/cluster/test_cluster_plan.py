# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A plan as data and as text, and what a run may not do."""

from __future__ import annotations

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.gates import Gate
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Plan, Step, permitted
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    FAR,
    NEW,
    ids,
    left,
    live,
    mid_upgrade,
    observed,
    plan,
    plan_of,
    pod,
    silent,
    spec,
)

# ---- permissions


def test_what_merely_comes_next_remains() -> None:
    found = plan_of(spec(operations=["create"]), observed())
    assert ids(found)[-1] == "create/StatefulSet/kw" and [step.id for step in found.remaining] == ["initialize"]


def test_what_was_asked_for_and_is_not_allowed_is_refused() -> None:
    for asked, step in (
        ({"image": NEW}, "upgrade/kw-2"),
        ({"replicas": 5}, "scale_out/kw-3"),
        ({"cache": "1GiB"}, "reconfigure/kw-2"),
    ):
        with pytest.raises(ClusterError) as error:
            plan(operations=["create", "scale_in"], **asked)
        assert error.value.reason == "operation_not_allowed" and error.value.facts["resumable"] is False
        assert "Nothing was changed" in error.value.msg and "this run may only create, scale_in" in error.value.msg
        assert error.value.facts["step"] == step
    with pytest.raises(ClusterError, match="scale_in/kw-3 is asked for"):
        plan(live(4), replicas=3, operations=["upgrade"])


def test_scaling_while_an_upgrade_is_half_done_leaves_the_upgrade() -> None:
    found = plan(mid_upgrade(), replicas=4, operations=["scale_out"])
    assert left(found) == ["prepull", "upgrade/kw-1", "upgrade/kw-0"]
    assert found.headline == "kw: scale out 3→4, 2 steps", "what may not run is not announced"
    assert ids(found) == ["volume/kw-3", "scale_out/kw-3"]


def test_a_run_that_may_only_initialise_creates_nothing() -> None:
    with pytest.raises(ClusterError, match="create/StatefulSet/kw is asked for"):
        plan_of(spec(operations=["initialize"]), observed())
    waiting = live(pods=[pod(number, ready=False) for number in range(3)], nodes=[], journal=Journal())
    assert ids(plan(silent(waiting), operations=["initialize"])) == ["initialize"]


def _plan(*operations: str, asked: str = "", remaining: str = "") -> Plan:
    """One step for each operation, called as it is; "" needs no permission."""
    steps = tuple(Step(name or "settle", "x", name, asked=name == asked != "") for name in operations)
    return Plan("kw", steps, tuple(Step(name, "x") for name in remaining.split()), held=bool(remaining))


@pytest.mark.parametrize(
    ("found", "allowed", "steps", "remaining"),
    [
        (_plan("upgrade", "scale_out"), "upgrade,scale_out", ["upgrade", "scale_out"], []),
        (_plan("upgrade", "scale_out"), "scale_out", ["scale_out"], ["upgrade"]),
        (_plan("upgrade", "scale_out"), "upgrade", ["upgrade"], ["scale_out"]),
        (_plan("upgrade", "", "scale_out"), "create", ["settle"], ["upgrade", "scale_out"]),
        # what needs an initialised cluster does not come before it
        (_plan("create", "initialize", "scale_out"), "create,scale_out", ["create"], ["initialize", "scale_out"]),
        # what is held for later comes after what may not run now
        (_plan("upgrade", "reconfigure", remaining="upgrade/kw-1"), "upgrade", ["upgrade"], ["reconfigure", "upgrade/kw-1"]),
        (_plan("upgrade", "finalize"), "upgrade", ["upgrade"], ["finalize"]),
    ],
)  # fmt: skip
def test_permitted(found: Plan, allowed: str, steps: list[str], remaining: list[str]) -> None:
    result = permitted(found, spec(operations=allowed))
    assert (ids(result), left(result)) == (steps, remaining)
    assert result.held is found.held


def test_the_first_step_that_was_asked_for_is_named() -> None:
    found = _plan("create", "upgrade", "scale_out", asked="scale_out")
    with pytest.raises(ClusterError) as error:
        permitted(found, spec(operations="create"))
    assert error.value.msg == (
        "scale_out is asked for, but this run may only create. Nothing was changed. Add scale_out to operations, "
        "or use the playbook for it."
    )
    assert error.value.facts == {"step": "scale_out", "resumable": False}


def test_what_only_prepares_an_upgrade_is_not_what_was_asked_for() -> None:
    """Nobody asked for a step called preserve or prepull, so no refusal speaks of it."""
    with pytest.raises(ClusterError, match=r"^upgrade/kw-2 is asked for, but this run may only scale_out"):
        plan(image=FAR, operations=["scale_out"])


# ---- the plan as data and as text


def test_a_plan_as_a_person_reads_it() -> None:
    gate = Gate("space", "1 B", "≤ 2 B", True)
    step = Step("upgrade/kw-2", "node 3", "upgrade", True, "kw-2", {"ordinal": 2})
    rest = Step("initialize", "once", "initialize")
    made = Plan("kw: upgrade", (step,), (rest,), {"b": (1, 2), "a": (None, 3), "c": (4, None)}, (gate,))
    assert made.lines() == [
        "kw: upgrade",
        "  1 upgrade/kw-2                 node 3",
        "  gates  space 1 B (≤ 2 B)",
        "  not allowed in this run: initialize",
    ]
    assert made.diff() == {"before": "b: 1\nc: 4\n", "after": "a: 3\nb: 2\n"}
    assert made.result() == {
        "headline": "kw: upgrade", "steps": [{"id": "upgrade/kw-2", "title": "node 3", "operation": "upgrade", "pod": "kw-2"}], "new_volumes": [],
        "waiting_volumes": [],
        "remaining": [{"id": "initialize", "title": "once", "operation": "initialize", "pod": ""}], "gates": [gate.result()], "held": False,
        "placement": [],
    }  # fmt: skip
    assert Plan("kw: nothing to do", ()).lines() == ["kw: nothing to do", "  not allowed in this run: nothing"]
    assert made.writes and not Plan("", (Step("settle", "wait"),)).writes


def test_a_step_is_harmless_until_it_says_otherwise() -> None:
    step = Step("create/Service/kw", "x")
    assert (step.operation, step.asked, step.disruptive, step.pod, step.facts) == ("", False, False, "", {})
    assert hash(step) == hash(Step("create/Service/kw", "x", facts={"object": {}})), "what is in the facts may change"


def test_what_is_held_is_not_called_forbidden() -> None:
    rest = (Step("upgrade/kw-1", "node 2", "upgrade"), Step("upgrade/kw-0", "node 1", "upgrade"))
    held = Plan("kw: held", (), rest, held=True)
    assert held.lines()[-1] == "  held for a later run: upgrade/kw-1, upgrade/kw-0" and held.result()["held"] is True
    paused = Plan("kw: pause", (Step("pause", "later runs only look"),), rest)
    assert paused.lines()[-1] == "  held for a later run: upgrade/kw-1, upgrade/kw-0"
    assert Plan("kw", (), rest).lines()[-1] == "  not allowed in this run: upgrade/kw-1, upgrade/kw-0"


@pytest.mark.parametrize(("step", "writes"), [("settle", False), ("close", True), ("pause", True), ("resume", True)])
def test_only_waiting_writes_nothing(step: str, writes: bool) -> None:
    assert Plan("", (Step(step, "x"),)).writes is writes and not Plan("", (), (Step(step, "x"),)).writes
