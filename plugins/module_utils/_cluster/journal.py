# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The cluster's own memory: a ConfigMap that explains, and decides only where the engine's answer is ambiguous. PRIVATE."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from .names import ordinal_of

TIME = "%Y-%m-%dT%H:%M:%SZ"  # UTC
KEPT = 20  # finished operations
STEPS_KEPT = 60  # of one operation
UNFINISHED = ("held", "interrupted")  # outcomes of what a later run goes on with
_SHAPES = {
    "cluster_id": str,
    "initializing": dict,
    "initialized": dict,
    "operation": dict,
    "options": dict,
    "pulled": dict,
    "leaving": dict,
    "unfinalized": dict,
    "recreate": dict,
    "window": dict,
    "replacing": dict,
}


_NOTES = ("moving", "from", "was", "undoing", "at_step", "options", "within")  # dictionaries inside an operation


def _sound(operation: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """An operation without what in it is of the wrong shape."""
    kept = {key: value for key, value in operation.items() if key not in _NOTES or isinstance(value, dict)}
    if "within" in kept:
        outer = kept.pop("within")
        kept.update({"within": _sound(outer)} if _named(outer) else {})
    if not isinstance(kept.get("steps", []), list):
        del kept["steps"]
    if "steps" in kept:
        kept["steps"] = [item for item in kept["steps"] if isinstance(item, dict) and {"step", "seconds"} <= set(item)]
    return kept


def _took(since: t.Any, until: str) -> dict[str, float]:
    """C(took), seconds between two times of the journal; nothing where one cannot be read. Of another machine's clock, it may be off."""
    try:
        began, ended = (datetime.strptime(str(moment), TIME) for moment in (since, until))
    except ValueError:
        return {}
    return {"took": max(0.0, (ended - began).total_seconds())}


def _named(operation: t.Any) -> bool:
    return isinstance(operation, dict) and isinstance(operation.get("name"), str)


@dataclass(frozen=True)
class Journal:
    """cluster_id and initialized (who, when) are written after C(init), initializing before it.

    operation: the one under way (name, who, since, what was before it, step, steps with their times, figures; within: another one, in whose middle
    it is done for its own sake, and that goes on afterwards); history: the last ones
    done (until, outcome, and how many seconds they took, whatever runs there were).
    options: those in force, should the StatefulSet lose them.
    pulled: the image that an upgrade has seen run, on which Kubernetes nodes, and the build it said; until that upgrade ends.
    leaving: the pods whose nodes were told to leave, and the size that is left then; until they are gone or put back.
    recreate: the StatefulSet that is being made again with larger claims; while that is under way there may be none.
    unfinalized: since when, and at which cluster version, the engine is held so that an upgrade can be undone; and the image before it.
    window: the Kubernetes node in maintenance, since when, and what the engine was told before about dead stores; until that is restored.
    replacing: by pod, what its replacement gives up, since when and who began it, and how far it has come (detaching: claim and volume are
    being taken away; clearing: a directory is); until that is complete, whatever runs between.
    """

    cluster_id: str | None = None
    initializing: t.Mapping[str, t.Any] = field(default_factory=dict)
    initialized: t.Mapping[str, t.Any] = field(default_factory=dict)
    operation: t.Mapping[str, t.Any] = field(default_factory=dict)
    history: tuple[t.Mapping[str, t.Any], ...] = ()
    options: t.Mapping[str, t.Any] = field(default_factory=dict)
    pulled: t.Mapping[str, t.Any] = field(default_factory=dict)
    leaving: t.Mapping[str, t.Any] = field(default_factory=dict)
    unfinalized: t.Mapping[str, t.Any] = field(default_factory=dict)
    recreate: t.Mapping[str, t.Any] = field(default_factory=dict)
    window: t.Mapping[str, t.Any] = field(default_factory=dict)
    replacing: t.Mapping[str, t.Mapping[str, t.Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, configmap: t.Mapping[str, t.Any] | None) -> Journal:
        """From the ConfigMap; empty without one, and without whatever in it somebody replaced by nonsense."""
        try:
            known = json.loads(((configmap or {}).get("data") or {}).get("journal") or "{}")
        except (ValueError, TypeError):
            known = {}
        if not isinstance(known, dict):
            return cls()
        kept = {name: known[name] for name, kind in _SHAPES.items() if isinstance(known.get(name), kind)}
        if not _named(kept.get("operation")):
            kept.pop("operation", None)
        else:
            kept["operation"] = _sound(kept["operation"])
        if not isinstance(kept.get("recreate", {}).get("spec"), dict) or not isinstance(
            kept["recreate"].get("metadata"), dict
        ):
            kept.pop("recreate", None)
        kept["replacing"] = {pod: lost for pod, lost in kept.get("replacing", {}).items() if isinstance(lost, dict)}
        history = known.get("history")
        return cls(**kept, history=tuple(filter(_named, history)) if isinstance(history, list) else ())

    def data(self) -> dict[str, str]:
        """The ConfigMap's data."""
        return {"journal": json.dumps({**asdict(self), "history": list(self.history)}, sort_keys=True)}

    def begin(self, name: str, who: str, now: str, **facts: t.Any) -> Journal:
        """An operation starts; the same one going on keeps its beginning."""
        if self.operation.get("name") == name:
            return replace(self, operation={**self.operation, "who": who, **facts})
        return replace(self, operation={"name": name, "who": who, "since": now, **facts})

    def within(self, name: str, who: str, now: str, **facts: t.Any) -> Journal:
        """As C(begin), in the middle of the one under way, which is taken up again as it was when this one ends."""
        outer = self.operation
        if outer and outer.get("name") != name:
            facts = {**facts, "within": dict(outer)}
        return self.begin(name, who, now, **facts)

    def left(self, pod: str) -> Journal:
        """One of the pods that were leaving is gone, or stays after all."""
        pods = [name for name in self.leaving_pods if name != pod]
        return replace(self, leaving={**self.leaving, "pods": pods} if pods else {})

    def stays(self, pod: str) -> Journal:
        """One that was leaving is wanted again. Pods leave from the highest down, so none below it leaves any more either."""
        if pod not in self.leaving_pods:
            return self
        ordinal = ordinal_of(pod) or 0
        pods = [name for name in self.leaving_pods if (ordinal_of(name) or 0) > ordinal]
        return replace(self, leaving={"pods": pods, "replicas": ordinal + 1} if pods else {})

    @property
    def leaving_pods(self) -> list[str]:
        pods = self.leaving.get("pods")
        return [str(pod) for pod in pods] if isinstance(pods, list) else []

    def replaces(self, lost: t.Mapping[str, t.Any], who: str, now: str) -> Journal:
        """A replacement gives this up. What an earlier run noted of the same loss stays."""
        pod = str(lost["pod"])
        known = self.replacing.get(pod, {})
        same = all(known.get(key) == value for key, value in lost.items())
        entry = {**known, **lost} if same else {"who": who, "since": now, **lost}
        return replace(self, replacing={**self.replacing, pod: entry})

    def replaced(self, pod: str) -> Journal:
        """Its replacement is complete, or nobody wants the pod any more."""
        return replace(self, replacing={name: lost for name, lost in self.replacing.items() if name != pod})

    def timed(self, steps: t.Sequence[t.Mapping[str, t.Any]]) -> Journal:
        """With more steps done: C(step), C(at), C(seconds)."""
        if not self.operation or not steps:
            return self
        return replace(
            self, operation={**self.operation, "steps": [*self.operation.get("steps", ()), *steps][-STEPS_KEPT:]}
        )

    def end(self, now: str, outcome: str) -> Journal:
        """The operation under way becomes history, and the one around it is under way again.

        now: as C(begin) was given it; how long it took is told where both can be read.
        """
        if not self.operation:
            return self
        passing = {"moving", "step", "at_step", "from", "undoing", "down", "within"}  # of use while it is under way
        if outcome in UNFINISHED:
            passing.discard("from")  # whoever goes on must still be able to go back
        kept = {key: value for key, value in self.operation.items() if key not in passing}
        done = {**kept, "until": now, "outcome": outcome, **_took(kept.get("since"), now)}
        return replace(
            self,
            operation=dict(self.operation.get("within") or {}),
            history=(*self.history, done)[-KEPT:],
            pulled={} if self.operation.get("name") == "upgrade" and outcome != "interrupted" else self.pulled,
        )
