# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What both ways to SQL have in common. Pure: imports neither kubernetes, psycopg nor Ansible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from .text import Statement


@dataclass(frozen=True)
class Target:
    """A pod that may serve SQL, as its own specification says.

    binary: the engine's, from the container's command. certs_dir: in the container; None on an insecure cluster.
    tls_name: the host name that its certificate should hold.
    """

    pod: str
    port: int
    insecure: bool
    ready: bool
    container: str
    binary: str | None
    certs_dir: str | None
    tls_name: str


@dataclass(frozen=True)
class Login:
    """connect_timeout: seconds for one pod, TLS and login included. tls_*: paths on this machine."""

    database: str = "defaultdb"
    user: str = "root"
    password: str | None = field(default=None, repr=False)
    connect_timeout: int = 10
    tls_mode: str = "require"
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What one statement came to. tag: the server's command tag (``INSERT 0 3``), None where the transport hides it.

    columns: (name, type) each; empty without a result. count: rows returned, or changed.
    """

    number: int
    tag: str | None
    count: int
    columns: list[tuple[str, str]] = field(default_factory=list)
    rows: list[dict[str, Any]] | None = None


Arguments: TypeAlias = "Sequence[Any] | Mapping[str, Any] | None"


class Session(Protocol):
    """A way to one server; a context manager. Every method may raise SqlError or KubeError."""

    def __enter__(self) -> Session: ...

    def __exit__(self, *exc: object) -> None: ...

    def run(self, statement: Statement, arguments: Arguments) -> Outcome:
        """Runs it, in the open transaction or as its own."""

    def judge(self, statement: Statement, arguments: Arguments) -> Outcome:
        """Runs it in a read-only transaction that is rolled back: SqlError with reason read_only if it would write."""

    def begin(self) -> None: ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...


def targets(pods: Sequence[Mapping[str, Any]], wanted: str | None = None) -> list[Target]:
    """Pods that run the database, ready ones first, then by name. wanted: a pod's name or ordinal, and no other."""
    found = []
    for pod in pods:
        meta, status = pod["metadata"], pod.get("status") or {}
        name = meta["name"]
        if wanted and wanted not in (name, name.rpartition("-")[2]):
            continue
        if meta.get("deletionTimestamp") or status.get("phase") != "Running":
            continue
        spec = pod["spec"]
        container = next((item for item in spec["containers"] if item["name"] == "kaiwudb"), spec["containers"][0])
        found.append(_target(pod, container))
    return sorted(found, key=lambda target: (not target.ready, target.pod))


def _target(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Target:
    spec, meta = pod["spec"], pod["metadata"]
    command = [str(word) for word in container.get("command") or []]
    words = " ".join([*command, *map(str, container.get("args") or [])]).split()
    port = next((item["containerPort"] for item in container.get("ports") or [] if item.get("name") == "sql"), 26257)
    conditions = (pod.get("status") or {}).get("conditions") or []
    certs = next((word.partition("=")[2] for word in words if word.startswith("--certs-dir=")), None)
    subdomain, namespace = spec.get("subdomain"), meta.get("namespace", "")
    host = f"{meta['name']}.{subdomain}.{namespace}.svc" if subdomain else str(meta["name"])
    return Target(
        pod=meta["name"],
        port=int(port),
        insecure="--insecure" in words,
        ready=any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions),
        container=str(container["name"]),
        binary=command[0] if command and command[0].rpartition("/")[2] not in ("sh", "bash", "exec") else None,
        certs_dir=certs,
        tls_name=host,
    )
