#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What was asked of an API server, counted in its audit log: reads, writes, exec and dry runs apart.

As a program (for playbooks and shell): ``audit.py mark`` prints a position; ``audit.py count POSITION [--agent TEXT]
[--user NAME] [--namespace NAME]`` prints the counts since then, and every request that was no read, as JSON.
The log and the kubeconfig of the lab's kind cluster are the defaults; ``KAIWUDB_AUDIT_LOG`` and ``KUBECONFIG`` win.

As a library::

    log = AuditLog(path, kubeconfig)
    mark = log.mark()
    ...
    assert log.count(mark, user="kubernetes-admin")["write"] == 0
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

REPO = Path(__file__).resolve().parents[3]
LAB = REPO / ".lab"
KINDS = ("read", "write", "exec", "dry_run")
_MARKER = "kaiwudb-audit-mark"
_READS = frozenset({"get", "list", "watch", "head", "options"})
_STREAMS = frozenset({"exec", "attach", "portforward", "log", "proxy"})
# Questions about rights and identity that Kubernetes words as "create"; they store nothing.
_REVIEWS = frozenset(
    {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "subjectaccessreviews", "selfsubjectreviews"}
)


@dataclass(frozen=True)
class Request:
    """One finished request; ``kind`` is one of :data:`KINDS`, ``code`` the HTTP status."""

    kind: str
    verb: str
    resource: str
    namespace: str
    name: str
    user: str
    agent: str
    manager: str
    code: int
    uri: str

    def __str__(self) -> str:
        return f"{self.kind} {self.verb} {self.resource} {self.namespace}/{self.name} {self.code} ({self.uri})"


def parse(event: dict[str, Any]) -> Request:
    """A line of the audit log (audit.k8s.io/v1 Event, level Metadata) as a Request."""
    target = event.get("objectRef") or {}
    query = parse_qs(urlsplit(event["requestURI"]).query)
    subresource = target.get("subresource", "")
    if subresource in _STREAMS and subresource != "log":
        kind = "exec"
    elif event["verb"] in _READS or target.get("resource") in _REVIEWS:
        kind = "read"
    else:
        kind = "dry_run" if query.get("dryRun") else "write"
    return Request(
        kind=kind,
        verb=event["verb"],
        resource="/".join(filter(None, (target.get("resource", ""), subresource))),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        user=event["user"].get("username", ""),
        agent=event.get("userAgent", ""),
        manager=query.get("fieldManager", [""])[0],
        code=(event.get("responseStatus") or {}).get("code", 0),
        uri=event["requestURI"],
    )


class AuditLog:
    """The audit log of one API server. ``kubeconfig`` reaches the same server, for the markers; ``ask`` sends a GET instead of kubectl."""

    def __init__(self, path: Path, kubeconfig: Path, ask: Callable[[str], object] | None = None) -> None:
        self.path = path
        self.kubeconfig = kubeconfig
        self._ask = ask or self._by_kubectl

    def mark(self, seconds: float = 10) -> int:
        """Position after every request answered so far. Raises TimeoutError when the log stands still.

        A request with a name of its own is sent and awaited in the log: a line is written when its answer is complete,
        so what was answered before the marker was sent stands before the position.
        """
        start = self.path.stat().st_size if self.path.exists() else 0
        marker = f"{_MARKER}={uuid.uuid4()}"
        self._ask(f"/version?{marker}")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.path.exists():
                with self.path.open("rb") as file:
                    file.seek(start)
                    if marker.encode() in file.read():
                        return file.tell()
            time.sleep(0.02)
        raise TimeoutError(
            f"{self.path}: the marker request did not appear within {seconds:g} s; is this the server's log?"
        )

    def since(self, mark: int, *, agent: str = "", user: str = "", namespace: str = "") -> Iterator[Request]:
        """Requests that were answered after ``mark``; ``agent`` is a part of the User-Agent or the field manager.

        Raises ValueError when the log was rotated in between (200 MB), for then lines are missing.
        """
        yield from self.take(mark, agent=agent, user=user, namespace=namespace)[0]

    def take(self, mark: int, *, agent: str = "", user: str = "", namespace: str = "") -> tuple[list[Request], int]:
        """As :meth:`since`, with the position to go on from: no request is between the two, and none is in both."""
        end = self.mark()
        if end < mark:
            raise ValueError(f"{self.path} was rotated since the mark was taken")
        with self.path.open("rb") as file:
            file.seek(mark)
            lines = file.read(end - mark).splitlines()
        found = [
            request
            for request in map(parse, map(json.loads, lines))
            if _MARKER not in request.uri
            and (not agent or agent in request.agent or agent in request.manager)
            and (not user or user == request.user)
            and (not namespace or namespace == request.namespace)
        ]
        return found, end

    def count(self, mark: int, **only: str) -> dict[str, int]:
        """Number of requests by kind since ``mark``; ``only`` as for :meth:`since`."""
        counts = dict.fromkeys(KINDS, 0)
        for request in self.since(mark, **only):
            counts[request.kind] += 1
        return counts

    def _by_kubectl(self, uri: str) -> None:
        subprocess.run(
            [_kubectl(), "--kubeconfig", str(self.kubeconfig), "get", "--raw", uri],
            check=True,
            capture_output=True,
            timeout=30,
        )


def _kubectl() -> str:
    own = LAB / "bin" / "kubectl"
    return str(own) if own.exists() else "kubectl"


def main() -> None:
    parser = argparse.ArgumentParser(description="Counts requests in an API server's audit log.")
    parser.add_argument(
        "--log", type=Path, default=os.environ.get("KAIWUDB_AUDIT_LOG", str(LAB / "audit" / "audit.log"))
    )
    parser.add_argument("--kubeconfig", type=Path, default=os.environ.get("KUBECONFIG", str(LAB / "kubeconfig")))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("mark", help="print the present position")
    counting = commands.add_parser("count", help="count what came after a position")
    counting.add_argument("position", type=int)
    for name in ("agent", "user", "namespace"):
        counting.add_argument(f"--{name}", default="")
    arguments = parser.parse_args()
    log = AuditLog(arguments.log, arguments.kubeconfig)
    if arguments.command == "mark":
        print(log.mark())
        return
    found = list(
        log.since(arguments.position, agent=arguments.agent, user=arguments.user, namespace=arguments.namespace)
    )
    counts: dict[str, Any] = {kind: sum(request.kind == kind for request in found) for kind in KINDS}
    counts["requests"] = [str(request) for request in found if request.kind != "read"]
    json.dump(counts, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
