# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Long work in slices: one run to the user, several calls of the module, and a lock given up at the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import LAST_TRY
from ansible_collections.kaiwudb.kubernetes.plugins.plugin_utils import slices
from ansible_collections.kaiwudb.kubernetes.plugins.plugin_utils.slices import (
    PATIENCE,
    SlicedAction,
    merge,
)

FIRST = {
    "changed": True, "in_progress": True, "steps": ["volume/kw-3"], "progress": ["a"], "plan": {"headline": "first"}, "plan_lines": ["first"],
    "diff": {"before": "x"}, "remaining": ["initialize"], "requests": {"reads": 2, "writes": 1}, "did": "volume", "msg": "kw: volume; still at …", "at": "x",
}  # fmt: skip
SECOND = {
    "changed": False, "in_progress": False, "steps": ["scale_out/kw-3", "scale_out/kw-4"], "progress": ["b"], "plan": {"headline": "second"}, "plan_lines": [],
    "diff": {}, "remaining": [], "requests": {"reads": 3, "execs": 4}, "did": "scale_out ×2", "msg": "kw: scale_out ×2", "at": None,
}  # fmt: skip


def test_slices_become_one_result() -> None:
    total = merge(merge({}, FIRST), SECOND)
    assert total == {
        "changed": True, "in_progress": False, "steps": ["volume/kw-3", "scale_out/kw-3", "scale_out/kw-4"], "progress": ["a", "b"],
        "plan": {"headline": "first"}, "plan_lines": ["first"], "diff": {"before": "x"}, "remaining": ["initialize"],
        "requests": {"reads": 5, "writes": 1, "execs": 4}, "did": "volume, scale_out ×2", "msg": "kw: volume, scale_out ×2", "at": None,
    }  # fmt: skip
    assert merge({}, FIRST) == FIRST and merge({}, FIRST) is not FIRST


def test_a_failure_in_a_later_slice_keeps_its_own_words_and_what_was_done() -> None:
    failed = {"failed": True, "msg": "pod kw-3 cannot start", "reason": "image_pull", "steps": []}
    total = merge(FIRST, failed)
    assert (total["failed"], total["msg"], total["reason"], total["changed"]) == (
        True,
        "pod kw-3 cannot start",
        "image_pull",
        True,
    )
    assert (
        total["steps"] == ["volume/kw-3"]
        and total["plan"] == {"headline": "first"}
        and total["requests"] == {"reads": 2, "writes": 1}
    )


def test_what_was_done_before_a_slice_failed_is_told_once() -> None:
    """The slice after it finds it done, as it does with what a slice ended in the middle of."""
    total = merge(FIRST, {**SECOND, "steps": ["volume/kw-3", "scale_out/kw-3"]})
    assert total["steps"] == ["volume/kw-3", "scale_out/kw-3"]


def test_nothing_done_so_far_leaves_the_words_of_the_newest() -> None:
    waiting = {**FIRST, "steps": [], "changed": False}
    assert merge(waiting, SECOND)["msg"] == "kw: scale_out ×2" and merge(waiting, SECOND)["changed"] is False


# ---- the action, with the module's answers given


class Action(SlicedAction):
    """answers: of the module, in order; each takes as many seconds as its slice."""

    def __init__(self, args: dict[str, Any], answers: list[dict[str, Any]], clock: Any, check: bool = False) -> None:
        self._task = SimpleNamespace(args=args, check_mode=check)
        self.answers, self.clock, self.calls = answers, clock, []

    def _execute_module(self, *, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        self.calls.append(module_args)
        self.clock.now += module_args.get("slice") or module_args["max_runtime"]
        return self.answers.pop(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = SimpleNamespace(now=100.0)
    made.monotonic = lambda: made.now
    monkeypatch.setattr(slices, "time", made)
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp=None, task_vars=None: {"base": True})
    return made


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(slices, "Display", lambda: SimpleNamespace(display=said.append))
    return said


def going(**more: Any) -> dict[str, Any]:
    return {"in_progress": True, "changed": True, "msg": "kw: x", "steps": [], **more}


DONE = {"in_progress": False, "changed": False, "msg": "kw: done", "steps": ["upgrade/kw-2"], "did": "upgrade"}


def test_the_module_is_called_until_it_is_done(clock: Any, lines: list[str]) -> None:
    answers = [
        going(progress=["kw-2 waits"]),
        going(progress=["kw-2 waits", "kw-2 runs"]),
        going(),
        going(),
        going(),
        dict(DONE),
    ]
    action = Action({"name": "kw", "namespace": "db"}, answers, clock)
    result = action.run()
    assert [call["slice"] for call in action.calls] == [5.0, 10.0, 20.0, 30.0, 30.0, 30.0]
    assert len({call["run_id"] for call in action.calls}) == 1 and action.calls[0]["name"] == "kw"
    assert lines == ["kw    kw-2 waits", "kw    kw-2 runs"], "a line that was shown is not shown again"
    assert (result["base"], result["changed"], result["in_progress"], result["steps"]) == (
        True,
        True,
        False,
        ["upgrade/kw-2"],
    )
    assert (result["seconds"], result["took"]) == (125.0, "2 min 5 s")


def test_what_a_slice_hands_on_reaches_the_next_one_and_not_the_user(clock: Any, lines: list[str]) -> None:
    answers = [going(carry={"waiting": {"since": 1.5}}), going(carry={}), going(), going(carry=None), dict(DONE)]
    action = Action({"name": "kw"}, answers, clock)
    result = action.run()
    assert [call["carry"] for call in action.calls] == [{}, {"waiting": {"since": 1.5}}, {}, {}, {}]
    assert "carry" not in result


def test_a_failure_ends_it(clock: Any, lines: list[str]) -> None:
    action = Action({"name": "kw"}, [going(), going(failed=True, msg="no")], clock)
    assert action.run()["failed"] and len(action.calls) == 2


# ---- hiccups in the middle of work: what is one the module says, by handing something on


def hiccup(reason: str = "api_connectionfailed", **more: Any) -> dict[str, Any]:
    """A slice that failed in the middle of a step for a moment's trouble."""
    return {
        "carry": {"locked": True},
        "failed": True,
        "msg": "refused",
        "reason": reason,
        "step": "upgrade/kw-2",
        "resumable": True,
        "steps": [],
        **more,
    }


def test_a_hiccup_is_looked_at_again(clock: Any, lines: list[str]) -> None:
    reason = "api_conflict"
    action = Action({"name": "kw"}, [going(), hiccup(reason), dict(DONE)], clock)
    result = action.run()
    assert not result.get("failed") and result["in_progress"] is False and result["steps"] == ["upgrade/kw-2"]
    assert lines == [f"kw    {reason} at upgrade/kw-2: looks again and goes on"]
    assert "reason" not in result and result["msg"] == "kw: done", "a trouble that passed is not told at the end"
    assert len({call["run_id"] for call in action.calls}) == 1, "it is the same run"


def test_every_other_failure_is_one(clock: Any, lines: list[str]) -> None:
    failure = hiccup("image_pull")
    del failure["carry"]
    action = Action({"name": "kw"}, [going(), failure, dict(DONE)], clock)
    result = action.run()
    assert result["failed"] and result["reason"] == failure["reason"] and len(action.calls) == 2 and lines == []


def test_what_a_slice_knew_outlives_its_hiccup(clock: Any, lines: list[str]) -> None:
    """The lock that it kept above all: whoever loses it must not take it again as if nothing had been."""
    knew = {"locked": True, "changed": True, "waiting": {"since": 1.5}}
    action = Action({"name": "kw"}, [going(), hiccup(carry=knew), dict(DONE, changed=False, steps=[])], clock)
    result = action.run()
    assert action.calls[2]["carry"] == knew and result["changed"] and "carry" not in result


def test_a_hiccup_at_the_look_of_a_later_slice_is_one_in_the_middle_of_work(clock: Any, lines: list[str]) -> None:
    action = Action({"name": "kw"}, [going(), hiccup(step=None), dict(DONE)], clock)
    assert not action.run().get("failed") and len(action.calls) == 3
    assert lines == ["kw    api_connectionfailed at a look: looks again and goes on"]


def test_hiccups_without_end_are_a_failure(clock: Any, lines: list[str]) -> None:
    action = Action({"name": "kw"}, [hiccup() for _number in range(9)], clock)
    result = action.run()
    assert result["failed"] and (result["reason"], result["msg"]) == ("api_connectionfailed", "refused")
    assert len(action.calls) == PATIENCE + 1
    assert [LAST_TRY in call["carry"] for call in action.calls] == [False] * PATIENCE + [True], (
        "the last one gives the lock up"
    )


def test_a_slice_that_works_forgives_the_hiccups_before(clock: Any, lines: list[str]) -> None:
    answers = [hiccup(), hiccup(), going(), hiccup(), hiccup(), dict(DONE)]
    action = Action({"name": "kw"}, answers, clock)
    assert not action.run().get("failed") and len(action.calls) == 6
    assert [LAST_TRY in call["carry"] for call in action.calls] == [False, False, True, False, False, True]


def test_in_the_last_slice_there_is_no_time_to_look_again(clock: Any, lines: list[str]) -> None:
    action = Action({"name": "kw", "max_runtime": 4}, [hiccup(), dict(DONE)], clock)
    assert action.run()["failed"] and len(action.calls) == 1


def test_what_was_done_before_a_hiccup_is_a_change(clock: Any, lines: list[str]) -> None:
    """The slice that failed says what it did; the next one may find nothing left to do."""
    nothing = {**DONE, "steps": [], "did": "nothing to do", "msg": "kw: nothing to do"}
    result = Action({"name": "kw"}, [hiccup(steps=["scale_out/kw-3"]), dict(nothing)], clock).run()
    assert (result["steps"], result["changed"]) == (["scale_out/kw-3"], True)
    result = Action({"name": "kw"}, [hiccup(), dict(nothing)], clock).run()
    assert result["changed"] is False


def test_the_last_slice_within_the_limit_is_told_so(clock: Any, lines: list[str]) -> None:
    """It must give the lock up: no further slice of this run comes."""
    action = Action({"name": "kw", "max_runtime": "18"}, [going(), going(), going()], clock)
    result = action.run()
    assert [(call.get("slice"), call["max_runtime"]) for call in action.calls] == [(5.0, "18"), (10.0, "18"), (None, 3)]
    assert result["in_progress"] and not result.get("failed") and result["seconds"] == 18.0


def test_a_limit_shorter_than_a_slice(clock: Any, lines: list[str]) -> None:
    action = Action({"name": "kw", "max_runtime": 3}, [going()], clock)
    action.run()
    assert [(call.get("slice"), call["max_runtime"]) for call in action.calls] == [(None, 3)]


@pytest.mark.parametrize("nonsense", ["soon", None, "", [1]])
def test_a_limit_that_is_none_is_the_modules_to_refuse(clock: Any, lines: list[str], nonsense: Any) -> None:
    action = Action({"name": "kw", "max_runtime": nonsense}, [dict(DONE)], clock)
    action.run()
    assert action.calls[0]["max_runtime"] == nonsense and action.calls[0]["slice"] == 5.0


def test_check_mode_shows_the_plan(clock: Any, lines: list[str]) -> None:
    Action({"name": "kw"}, [{**DONE, "plan_lines": ["kw: upgrade", "  1 upgrade/kw-2"]}], clock, check=True).run()
    assert lines == ["kw: upgrade\n  1 upgrade/kw-2"], "at once, or other hosts' plans come between"


@pytest.mark.parametrize(
    ("host", "who"),
    [("orders-eu", "orders-eu"), ("localhost", "kw"), ("127.0.0.1", "kw"), ("::1", "kw"), ("", "kw"), (None, "kw")],
)
def test_lines_are_told_by_the_inventory_host(clock: Any, lines: list[str], host: str | None, who: str) -> None:
    """As the table at the end: two clusters of a fleet may have one name."""
    task_vars = {} if host is None else {"inventory_hostname": host}
    Action({"name": "kw"}, [going(progress=["kw-2 waits"]), hiccup(), dict(DONE)], clock).run(task_vars=task_vars)
    assert lines == [f"{who}    kw-2 waits", f"{who}    api_connectionfailed at upgrade/kw-2: looks again and goes on"]
    lines.clear()
    Action({"name": "kw"}, [{**DONE, "plan_lines": ["kw: upgrade", "  1 kw: x"]}], clock, check=True).run(
        task_vars=task_vars
    )
    assert lines == [f"{who}: upgrade\n  1 kw: x"]


def test_a_removal_is_one_slice(clock: Any, lines: list[str]) -> None:
    action = Action({"name": "kw", "state": "absent"}, [dict(DONE)], clock)
    action.run()
    assert action.calls[0]["slice"] == 30.0
