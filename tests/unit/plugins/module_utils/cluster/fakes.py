# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Both edges and the clock, as far as lock and waits use them. Nothing here sleeps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import ExecResult, KubeError

Object = dict[str, Any]


class Clock:
    """Stands in for the module ``time``; moves when told, or when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return 1.7e9 + self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Client:
    """Objects in memory, compare-and-swap by resourceVersion, and a watch that only lets time pass.

    on_watch: called after each watch, as what others do meanwhile. fail: (verb, kind) to the error that is raised.
    """

    server, context = "https://fake", None

    def __init__(self, clock: Clock, *objects: Object) -> None:
        self.clock = clock
        self.objects: dict[tuple[str, str], Object] = {}
        self.version = 1
        self.sent: list[tuple[str, str, str]] = []
        self.labels: dict[str, Any] = {}  # of the last list of each kind
        self.on_watch: Callable[[], None] = lambda: None
        self.on_dry_run: Callable[[Object], Object] = lambda obj: obj
        self.counts: dict[str, int] = {}
        self.fail: dict[tuple[str, str], KubeError] = {}
        self.allowed: Callable[..., bool] = lambda *_right: True
        self.asked: list[tuple[Any, ...]] = []
        self.event_list: list[Object] = []
        self.log_text = {True: "", False: ""}
        self.on_create: Callable[[Object], Object] = lambda obj: obj
        self.on_exec: Callable[[str, list[str]], ExecResult] = lambda _pod, _argv: ExecResult(0, "", "")
        for item in objects:
            self.put(item)

    def put(self, item: Object) -> Object:
        self.version += 1
        made = copy.deepcopy(item)
        made["metadata"]["resourceVersion"] = str(self.version)
        self.objects[made["kind"], made["metadata"]["name"]] = made
        return copy.deepcopy(made)

    def _sent(self, verb: str, kind: str, name: str) -> None:
        self.sent.append((verb, kind, name))
        if (verb, kind) in self.fail:
            raise self.fail[verb, kind]

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        self._sent("get", kind, name)
        return copy.deepcopy(self.objects.get((kind, name)))

    def list(self, kind: str, namespace: str | None = None, **how: Any) -> tuple[Any, str]:
        self._sent("list", kind, "")
        self.labels[kind] = how.get("labels")
        return [copy.deepcopy(item) for (found, _name), item in self.objects.items() if found == kind], str(
            self.version
        )

    def watch(self, kind: str, namespace: str | None = None, *, timeout: float, **_how: Any) -> Iterator[Any]:
        self._sent("watch", kind, "")
        self.clock.now += timeout
        self.on_watch()
        return iter(())

    def create(self, obj: Object) -> Object:
        self._sent("create", obj["kind"], obj["metadata"]["name"])
        return self.put(self.on_create(copy.deepcopy(obj)))

    def delete(self, kind: str, name: str, namespace: str | None = None, **_how: Any) -> bool:
        self._sent("delete", kind, name)
        return self.objects.pop((kind, name), None) is not None

    def exec(self, namespace: str, pod: str, container: str, command: Any, *, timeout: float) -> ExecResult:
        self._sent("exec", "Pod", pod)
        return self.on_exec(pod, list(command))

    def apply(self, obj: Object, *, dry_run: bool = False) -> Object:
        """A dry run says what the object would be: by on_dry_run, for the server has its own idea of that."""
        self._sent("dry run" if dry_run else "apply", obj["kind"], obj["metadata"]["name"])
        return self.on_dry_run(copy.deepcopy(obj)) if dry_run else self.put(obj)

    def server_version(self) -> dict[str, str]:
        return {"major": "1", "minor": "34"}

    def patch(self, kind: str, name: str, namespace: str | None, body: Any, **_how: Any) -> Object:
        self._sent("patch", kind, name)
        live = self.objects[kind, name]
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != live["metadata"]["resourceVersion"]:
            raise KubeError(409, "Conflict", "the object has been modified")
        live = _merged(copy.deepcopy(live), body)
        return self.put(live)

    def events(self, namespace: str, name: str) -> Any:
        self._sent("events", "Event", name)
        return self.event_list

    def logs(self, namespace: str, pod: str, container: str | None = None, *, tail: int, previous: bool) -> str:
        return self.log_text[previous]

    def can_i(self, verb: str, resource: str, group: str = "", namespace: str | None = None) -> bool:
        self.asked.append((verb, resource, group, namespace))
        return self.allowed(verb, resource, group, namespace)


def _merged(live: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386): None removes."""
    if not isinstance(patch, dict):
        return patch
    base = live if isinstance(live, dict) else {}
    kept = {**base, **{key: _merged(base.get(key), value) for key, value in patch.items() if value is not None}}
    return {key: value for key, value in kept.items() if key not in patch or patch[key] is not None}
