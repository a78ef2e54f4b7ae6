# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Failures as data. PRIVATE to the collection."""

from __future__ import annotations

import typing as t

from .._engine.errors import EngineError
from .._kube.errors import KubeError

UNCHANGED = "Nothing was changed."
STAYS = "What had been done until then stays"
AGAIN = f"{STAYS}; run again to continue."


def stopped(why: object) -> str:
    """The message of a run that something outside of it ended."""
    return f"{str(why).rstrip('.')}. {AGAIN}"


# A moment's trouble in the middle of work: the next slice looks and plans again, as the next run would.
HICCUPS = (
    "api_conflict",
    "api_connectionfailed",
    "api_internalerror",
    "api_serviceunavailable",
    "api_timeout",
    "api_toomanyrequests",
    "engine_cut",
)

LAST_TRY = "last_try"  # in what is handed on to a slice: no other one follows it should it fail


class ClusterError(Exception):
    """A refusal or a failure that says what, why and what to do.

    msg: for a person: what was refused or failed, why, and what to do.
    reason: stable code for a program, such as C(nodes_needed) or C(image_pull).
    facts: further result fields (C(step), C(node), C(waited), C(evidence), C(plan), C(resumable)).
    """

    def __init__(self, msg: str, reason: str, **facts: t.Any) -> None:
        super().__init__(msg)
        self.msg = msg
        self.reason = reason
        self.facts = facts

    def after_work(self) -> None:
        """The run changed something before it came to this, perhaps in an earlier slice: it must not say that nothing was."""
        self.msg = self.msg.replace(UNCHANGED, AGAIN if self.result()["resumable"] else f"{STAYS}.")
        self.args = (self.msg,)

    def result(self) -> dict[str, t.Any]:
        """What a module returns: every failure has the same fields, so that a play can rely on them."""
        return {"msg": self.msg, "reason": self.reason, "step": None, "node": None, "resumable": True, **self.facts}


class InputError(ClusterError):
    """An option whose value is not allowed; raised before any request is sent."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option}: {problem}", "invalid_option", option=option, resumable=False)


def failure(error: EngineError | KubeError, step: str = "", pod: str = "", **facts: t.Any) -> ClusterError:
    """What one of the two edges raised, as the failure of a run. step, pod: what the run was at, empty for neither."""
    if isinstance(error, EngineError):
        return ClusterError(
            stopped(error), f"engine_{error.reason}", step=step or None, node=error.pod or None, **facts
        )
    said = f"{str(error).rstrip('.')}. {UNCHANGED}" if error.unasked else stopped(error)
    return ClusterError(
        said, f"api_{error.reason}".lower(), step=step or None, node=pod or None, status=error.status, **facts
    )
