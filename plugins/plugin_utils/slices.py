# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Long work in slices: a killed job loses nothing, and a person sees it move."""

from __future__ import annotations

import time
import typing as t
import uuid

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import LAST_TRY
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.progress import took
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.verbs import in_short

# Short at first, so that a line appears soon; then longer, since every slice pays the module's start.
SLICES = (5.0, 10.0, 20.0, 30.0)
REMOVAL = (30.0,)  # takes seconds; nothing to watch
PATIENCE = 2  # slices in succession that fail for a moment's trouble


class SlicedAction(ActionBase):  # type: ignore[misc]  # Ansible ships no types
    """An action that calls the module of its own name again while it answers C(in_progress), as one run."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        run_id, started = uuid.uuid4().hex[:8], time.monotonic()
        limit = _seconds(args.get("max_runtime"))
        total: dict[str, t.Any] = {}
        carry: dict[str, t.Any] = {}
        name, shown = str(args.get("name") or ""), ""
        who = spoken_of(name, task_vars or {})
        hiccups = 0
        slices = REMOVAL if args.get("state") == "absent" else SLICES
        for turn in range(10**9):
            seconds = slices[min(turn, len(slices) - 1)]
            if limit:
                seconds = max(0.1, min(seconds, limit - (time.monotonic() - started)))
            # The last slice that max_runtime leaves room for is told so: it gives the lock up for whoever continues.
            last = limit and time.monotonic() - started + seconds >= limit
            how = {"max_runtime": max(1, round(seconds))} if last else {"slice": seconds}
            answer = self._execute_module(
                module_args={**args, "run_id": run_id, "carry": carry, **how}, task_vars=task_vars
            )
            handed = answer.pop("carry", None)
            carry = handed or {}
            # One that failed and hands something on is to be followed by another, which looks again.
            if answer.get("failed") and handed is not None and hiccups < PATIENCE and not last:
                hiccups += 1
                Display().display(
                    f"{who}    {answer['reason']} at {answer.get('step') or 'a look'}: looks again and goes on"
                )
                changed = bool(answer.get("steps") or carry.get("changed"))
                answer = {**answer, "failed": False, "in_progress": True, "changed": changed}
            elif not answer.get("failed"):
                hiccups = 0
            # The last try is told so: should it fail, too, it gives the lock up for whoever runs next.
            carry.pop(LAST_TRY, None)
            carry.update({LAST_TRY: True} if hiccups == PATIENCE else {})
            total = merge(total, answer)
            if self._task.check_mode and answer.get("plan_lines"):
                # At once: other forks' plans would come between its lines.
                Display().display(plan_text(answer["plan_lines"], name, who))
            for line in answer.get("progress") or ():
                if line != shown:  # a slice begins by saying where it stands
                    Display().display(f"{who}    {line}")
                shown = line
            if answer.get("failed") or not answer.get("in_progress") or last:
                break
        total["seconds"] = round(time.monotonic() - started, 1)
        total["took"] = took(total["seconds"])
        result.update(total)
        return result


def spoken_of(name: str, task_vars: t.Mapping[str, t.Any]) -> str:
    """What lines about a cluster begin with: its inventory host, as in the table at the end, for two clusters of a fleet may have one name.

    Its own C(name) where the host is only the machine that the play runs on.
    """
    host = str(task_vars.get("inventory_hostname") or "")
    return name if not host or host in constants.LOCALHOST else host


def plan_text(lines: t.Sequence[str], name: str, who: str) -> str:
    """A plan as one text, headed by C(who) instead of the cluster's C(name)."""
    return "\n".join([f"{who}: {lines[0].removeprefix(f'{name}: ')}", *lines[1:]])


def _seconds(value: t.Any) -> float:
    """The run's limit; what is no number is the module's to refuse."""
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0


def merge(total: dict[str, t.Any], answer: dict[str, t.Any]) -> dict[str, t.Any]:
    """The result of all slices so far: the newest answer, the first plan and diff, and everything done."""
    if not total:
        return dict(answer)
    before, after = list(total.get("steps", ())), list(answer.get("steps", ()))
    # A slice that failed after a step was done: the next one counts it as what was ended in the middle of.
    if before and after and before[-1] == after[0]:
        del after[0]
    merged = {
        **answer,
        "changed": bool(total.get("changed") or answer.get("changed")),
        "steps": [*before, *after],
        "progress": [*total.get("progress", ()), *answer.get("progress", ())],
    }
    for key in ("plan", "plan_lines", "diff", "remaining"):
        if key in total:
            merged[key] = total[key]
    merged["requests"] = {
        key: total.get("requests", {}).get(key, 0) + answer.get("requests", {}).get(key, 0)
        for key in {**total.get("requests", {}), **answer.get("requests", {})}
    }
    if "msg" in merged and not answer.get("failed") and total.get("steps"):
        merged["did"] = (
            answer.get("did") if answer.get("steps") is None else in_short(merged["steps"]) or answer.get("did")
        )
        merged["msg"] = f"{answer['msg'].split(':', 1)[0]}: {merged['did']}"
    return merged
