# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""One run of the module as a process of its own behind a proxy, and its end by SIGKILL at a chosen request.

The module alone, not the whole of Ansible, so that a run costs a third of a second beside its work; it gets its arguments in
the file that every ansible-core reads them from. Whole runs of Ansible are killed too: ``start`` is an argument.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import kindlab
import yaml
from kindlab import Place

from faults.proxy import Action, Proxy, Request, Reset

Mode = Literal["before", "after"]
MODES: tuple[Mode, ...] = ("before", "after")
COUNTED = ("write", "exec")
MODULE = "ansible_collections.kaiwudb.kubernetes.plugins.modules.kaiwudb_cluster"
SECONDS = 240.0  # more than any one operation of these tests takes, on a busy machine too

_serial = itertools.count(1)


class Running(Protocol):
    """A run under way."""

    def kill(self) -> None:
        """SIGKILL to all of it; returns when it is dead."""

    def wait(self, seconds: float) -> tuple[int, str]:
        """Exit code and what it printed; TimeoutExpired when it lasts longer."""


Start = Callable[[Place, dict[str, Any]], Running]


@dataclass
class Answer:
    """What came of a run. ``victim``: the request at which it was killed, None when it ended by itself."""

    code: int
    data: dict[str, Any]
    text: str
    seconds: float
    requests: list[Request] = field(default_factory=list)
    victim: Request | None = None

    @property
    def good(self) -> bool:
        """Whether it ended by itself, with success, and at its goal."""
        return self.victim is None and self.code == 0 and not self.data.get("in_progress", True)

    @property
    def counted(self) -> list[Request]:
        """Writes and exec requests, in order."""
        return [request for request in self.requests if request.sort in COUNTED]

    @property
    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.sort == "write"]

    @property
    def why(self) -> str:
        """How it ended, in a line."""
        if self.victim:
            return f"killed at {self.victim}"
        said = self.data.get("msg") or self.text.strip()[-600:]
        return f"exit code {self.code}, {self.data.get('reason') or 'no reason'} at {self.data.get('step')}: {said}"


class Kill:
    """Ends a run at its n-th counted request: ``before`` its answer is relayed, or right ``after``.

    From then on nothing of the run reaches the server any more, not even from another of its connections.
    """

    def __init__(self, number: int, mode: Mode) -> None:
        self.number, self.mode = number, mode
        self.end: Callable[[], None] = lambda: None
        self.victim: Request | None = None
        self._target: Request | None = None
        self._seen = 0
        self._lock = threading.Lock()

    def arm(self, proxy: Proxy, end: Callable[[], None]) -> None:
        """Hook into the proxy; ``end`` kills the run."""
        self.end = end
        proxy.on_request, proxy.on_answer, proxy.on_relayed = self._request, self._answer, self._relayed

    def _request(self, request: Request) -> Action | None:
        with self._lock:
            if self.victim:
                return Reset("before")
            if request.sort in COUNTED:
                self._seen += 1
                if self._seen == self.number:
                    self._target = request
        return None

    def _answer(self, request: Request) -> None:
        if request is self._target and self.mode == "before":
            self._fire(request)

    def _relayed(self, request: Request) -> None:
        if request is self._target and self.mode == "after":
            self._fire(request)

    def _fire(self, request: Request) -> None:
        with self._lock:
            self.victim = request
        self.end()


class KillInside(Kill):
    """Ends a run while an engine call of these words hangs in its pod. ``hang``: makes it hang; returns when it does."""

    def __init__(
        self, words: tuple[str, ...], hang: Callable[[Request], None], seen: Callable[[Request], bool]
    ) -> None:
        super().__init__(0, "before")
        self.words, self.hang, self.seen = words, hang, seen

    def _request(self, request: Request) -> Action | None:
        if super()._request(request):
            return Reset("before")
        command = request.query.get("command", [])
        if self._target is None and request.sort == "exec" and all(word in command for word in self.words):
            self._target = request
            self.hang(request)
            threading.Thread(target=self._when_it_hangs, args=(request,), daemon=True).start()
        return None

    def _when_it_hangs(self, request: Request) -> None:
        kindlab.until(f"{' '.join(self.words)} runs in {request.name}", lambda: self.seen(request), 10, 0.1)
        self._fire(request)


def run(
    place: Place, name: str, *, kill: Kill | None = None, start: Start | None = None, seconds: float = SECONDS, **options: Any
) -> Answer:  # fmt: skip
    """One run to its end, whichever it is; all of its requests go through a proxy of its own. An option that is None is not given."""
    began = time.monotonic()
    with Proxy(place.kubeconfig) as proxy:
        given = {**place.defaults, "name": name, **options, "host": proxy.url, "api_key": token(place.kubeconfig)}
        running = (start or ModuleRun)(place, {key: value for key, value in given.items() if value is not None})
        if kill:
            kill.arm(proxy, running.kill)
        try:
            code, text = running.wait(seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            code, text = -1, f"did not end within {seconds:g} s; the last requests: {proxy.requests[-3:]}"
        return Answer(code, _result(text), text, time.monotonic() - began, list(proxy.requests), kill and kill.victim)


@cache
def token(kubeconfig: Path) -> str:
    """The bearer token of a kubeconfig's only user."""
    found: str = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))["users"][0]["user"]["token"]
    return found


class ModuleRun:
    """The module in a session of its own, without Ansible around it."""

    def __init__(self, place: Place, arguments: dict[str, Any]) -> None:
        file = place.home / f"arguments-{next(_serial)}.json"
        file.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), encoding="utf-8")
        environment = place.environment(PYTHONPATH=str(place.collections))
        del environment["K8S_AUTH_KUBECONFIG"]
        self._process = subprocess.Popen(
            [environment["ANSIBLE_PYTHON_INTERPRETER"], "-m", MODULE, str(file)],
            env=environment, cwd=place.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL to its process group."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def wait(self, seconds: float) -> tuple[int, str]:
        text, _none = self._process.communicate(timeout=seconds)
        return self._process.returncode, text


class AnsibleRun:
    """The whole of Ansible, its workers and modules included."""

    def __init__(self, place: Place, arguments: dict[str, Any]) -> None:
        given = dict.fromkeys(place.defaults) | arguments
        self._process = place.start(given.pop("name"), **given)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float) -> tuple[int, str]:
        end = time.monotonic() + seconds
        while self._process.running:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("ansible", seconds)
            time.sleep(0.1)
        return (2 if "FAILED!" in self._process.output else 0), self._process.output


def _result(text: str) -> dict[str, Any]:
    """The module's answer: the last line that is an object, or Ansible's own form of it."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            with suppress(ValueError):
                found: dict[str, Any] = json.loads(line)
                return found
    with suppress(AssertionError, ValueError):
        return dict(kindlab.answer(text))
    return {}
