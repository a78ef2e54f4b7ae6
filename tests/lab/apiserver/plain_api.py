#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A real kube-apiserver with its etcd as plain processes on 127.0.0.1: a real API without nodes, ready in seconds.

As a pytest plugin (``PYTHONPATH=tests/lab/apiserver pytest -p plain_api``): fixtures ``plain_api`` (one a session),
``api_namespace`` (a fresh one a test), ``api_user`` (least-privilege accounts).
As a program: ``plain_api.py COMMAND...`` runs the command with KUBECONFIG and KAIWUDB_AUDIT_LOG set, and ends with it;
without a command it prints both and serves until it is interrupted.

The programs come from the lab's one binary (``tests/lab/kind/node-image kube``). RBAC is on, the audit log counts
requests (see audit.py), nothing outlives the process that started it. There is no scheduler and no kubelet; with
``controllers`` a kube-controller-manager runs beside it (StatefulSets then make pods, which nobody runs).
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from audit import LAB, REPO, AuditLog

BIN = LAB / "bin"
_KIND = REPO / "tests" / "lab" / "kind"
_PR_SET_PDEATHSIG = 1
CONTROLLERS = (
    "statefulset-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "persistentvolume-binder-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "endpointslice-controller",
)


class PlainApiError(RuntimeError):
    """The API server did not come up; the message holds the last lines of the log."""


def ensure_programs() -> str:
    """Builds the programs when they are missing. Returns why it cannot, or an empty string.

    Takes seconds with a warm Go cache, 5-6 minutes on two cores with a cold one.
    """
    if (BIN / "kube").exists():
        return ""
    if not shutil.which("go"):
        return "no .lab/bin/kube (run tests/lab/kind/node-image kube), and no Go to build it with"
    done = subprocess.run(
        [str(_KIND / "node-image"), "kube"], capture_output=True, text=True, timeout=1800, check=False
    )
    return "" if done.returncode == 0 else f"tests/lab/kind/node-image kube failed: {done.stderr[-500:]}"


def kubectl(kubeconfig: Path, *arguments: str, stdin: Any = None) -> str:
    """kubectl's output; ``stdin`` is an object that is sent as JSON. Raises PlainApiError with its error text."""
    own = BIN / "kubectl"
    done = subprocess.run(
        [str(own) if own.exists() else "kubectl", "--kubeconfig", str(kubeconfig), "--request-timeout=20s", *arguments],
        input=None if stdin is None else json.dumps(stdin),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise PlainApiError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def make_user(
    kubeconfig: Path,
    directory: Path,
    name: str,
    namespace: str,
    rules: Sequence[dict[str, Any]],
    cluster_rules: Sequence[dict[str, Any]] = (),
) -> Path:
    """A ServiceAccount in ``namespace`` that may do ``rules`` there (and ``cluster_rules`` everywhere), and nothing else.

    ``rules`` are those of a Role. Works on any cluster that ``kubeconfig`` administers. Returns the path of a kubeconfig
    in ``directory`` that holds the account's token (one hour) and the namespace; the user is called
    ``system:serviceaccount:NAMESPACE:NAME`` in the audit log.
    """
    account = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    items: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    ]
    for kind, metadata, granted in (
        ("Role", {"name": name, "namespace": namespace}, rules),
        ("ClusterRole", {"name": f"{namespace}-{name}"}, cluster_rules),
    ):
        if granted:
            reference = {"apiGroup": rbac, "kind": kind, "name": metadata["name"]}
            items.append({"apiVersion": f"{rbac}/v1", "kind": kind, "metadata": metadata, "rules": list(granted)})
            items.append({
                "apiVersion": f"{rbac}/v1",
                "kind": f"{kind}Binding",
                "metadata": metadata,
                "roleRef": reference,
                "subjects": [account],
            })  # fmt: skip
    kubectl(kubeconfig, "apply", "-f", "-", stdin={"apiVersion": "v1", "kind": "List", "items": items})
    token = kubectl(kubeconfig, "-n", namespace, "create", "token", name, "--duration=1h").strip()
    view = json.loads(kubectl(kubeconfig, "config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    path = directory / f"{namespace}-{name}.kubeconfig"
    _write_kubeconfig(path, view["clusters"][0]["cluster"], name, token, namespace)
    return path


def _write_kubeconfig(path: Path, cluster: dict[str, Any], user: str, token: str, namespace: str = "default") -> None:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "plain",
        "clusters": [{"name": "plain", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "plain", "context": {"cluster": "plain", "user": user, "namespace": namespace}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")  # JSON is YAML


class PlainApi:
    """One API server. Use as a context manager; ``kubeconfig`` is the administrator's, ``audit`` counts requests.

    ``controllers``: names for kube-controller-manager (see CONTROLLERS); none means that none runs.
    Raises PlainApiError when it is not ready within ``seconds``.
    """

    def __init__(self, controllers: Sequence[str] = (), seconds: float = 60) -> None:
        self.controllers = tuple(controllers)
        self.seconds = seconds
        self.directory = Path()
        self.url = ""
        self._token = ""
        self._processes: list[subprocess.Popen[bytes]] = []
        self._held: list[socket.socket] = []

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def audit(self) -> AuditLog:
        return AuditLog(self.directory / "audit.log", self.kubeconfig, self.ask)

    def __enter__(self) -> PlainApi:
        self.directory = Path(tempfile.mkdtemp(prefix="kaiwudb-api-"))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        for process in reversed(self._processes):
            process.kill()  # nothing in it is worth a shutdown
            process.wait()
        self._processes.clear()
        for held in self._held:
            held.close()
        self._held.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, uri: str, body: Any = None) -> Any:
        """The administrator's GET, or POST of ``body``, without the quarter of a second that a kubectl takes to start."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{uri}", data, headers)
        trusted = ssl.create_default_context(cafile=str(self.directory / "tls" / "apiserver.crt"))
        with urllib.request.urlopen(request, timeout=30, context=trusted) as answer:
            return json.load(answer)

    def namespace(self, name: str) -> str:
        """Makes the namespace and returns its name."""
        self.ask("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def user(
        self,
        name: str,
        namespace: str,
        rules: Sequence[dict[str, Any]],
        cluster_rules: Sequence[dict[str, Any]] = (),
    ) -> Path:
        """:func:`make_user` on this server."""
        return make_user(self.kubeconfig, self.directory, name, namespace, rules, cluster_rules)

    def _start(self) -> None:
        self._held = _hold_ports(3)
        etcd, peer, port = (held.getsockname()[1] for held in self._held)
        here = self.directory
        self.url = f"https://127.0.0.1:{port}"
        self._token = secrets.token_hex(16)
        (here / "tokens.csv").write_text(f"{self._token},kubernetes-admin,admin,system:masters\n", encoding="utf-8")
        (here / "audit.log").touch()
        subprocess.run(
            [BIN / "kubeadm", "init", "phase", "certs", "sa", "--cert-dir", here],
            check=True,
            capture_output=True,
            timeout=30,
        )
        self._run(
            "etcd", "--data-dir", here / "etcd", "--listen-client-urls", f"http://127.0.0.1:{etcd}",
            "--advertise-client-urls", f"http://127.0.0.1:{etcd}", "--listen-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}", "--initial-cluster", f"default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync", "--log-level", "error",
        )  # fmt: skip
        self._run(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{etcd}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", f"--secure-port={port}",
            f"--cert-dir={here}/tls", f"--token-auth-file={here}/tokens.csv", "--authorization-mode=RBAC",
            f"--service-account-key-file={here}/sa.pub", f"--service-account-signing-key-file={here}/sa.key",
            "--service-account-issuer=https://plain", "--service-cluster-ip-range=10.0.0.0/16", "--allow-privileged",
            "--disable-admission-plugins=ServiceAccount", f"--audit-policy-file={_KIND / 'audit-policy.yaml'}",
            f"--audit-log-path={here}/audit.log",
        )  # fmt: skip
        self._await_ready()
        authority = base64.b64encode((here / "tls" / "apiserver.crt").read_bytes()).decode()
        server = {"server": self.url, "certificate-authority-data": authority}
        _write_kubeconfig(self.kubeconfig, server, "kubernetes-admin", self._token)
        if self.controllers:
            self._run(
                "kube-controller-manager", f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--secure-port=0",
                f"--controllers={','.join(self.controllers)}",
            )  # fmt: skip

    def _run(self, program: str, *arguments: object) -> None:
        with (self.directory / f"{program}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [str(BIN / program), *map(str, arguments)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    preexec_fn=_die_with_parent,
                )
            )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self.seconds
        unverified = ssl._create_unverified_context()  # the certificate is made by the server as it starts
        while time.monotonic() < deadline:
            if any(process.poll() is not None for process in self._processes):
                break
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2, context=unverified):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        tails = [f"{log.name}: {log.read_text(errors='replace')[-600:]}" for log in self.directory.glob("*.log")]
        raise PlainApiError(f"kube-apiserver was not ready within {self.seconds:g} s\n" + "\n".join(tails))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _hold_ports(count: int) -> list[socket.socket]:
    """Sockets bound to ports that nobody else is given while they are open; a Go program (SO_REUSEADDR) may listen there."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sockets


try:
    import pytest
except ImportError:  # as a program it needs no pytest
    pass
else:

    @pytest.fixture(scope="session")
    def plain_api() -> Iterator[PlainApi]:
        """A kube-apiserver without nodes for the whole session; skipped, with the reason, where it cannot be had."""
        if why := ensure_programs():
            pytest.skip(why)
        with PlainApi() as api:
            yield api

    @pytest.fixture
    def api_namespace(plain_api: PlainApi) -> str:
        """A fresh namespace (never deleted: the server goes away as a whole)."""
        return plain_api.namespace(f"t-{secrets.token_hex(4)}")

    @pytest.fixture
    def api_user(plain_api: PlainApi, api_namespace: str) -> Callable[..., Path]:
        """``api_user(rules, cluster_rules=())``: the kubeconfig of a new account with these rights in ``api_namespace``."""

        def make(rules: Sequence[dict[str, Any]], cluster_rules: Sequence[dict[str, Any]] = ()) -> Path:
            return plain_api.user(f"u-{secrets.token_hex(4)}", api_namespace, rules, cluster_rules)

        return make


def main() -> int:
    if why := ensure_programs():
        print(f"plain_api: {why}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with PlainApi() as api:
        environment = {"KUBECONFIG": str(api.kubeconfig), "KAIWUDB_AUDIT_LOG": str(api.audit.path)}
        if len(sys.argv) > 1:
            return subprocess.run(sys.argv[1:], env=os.environ | environment, check=False).returncode
        for name, value in environment.items():
            print(f"export {name}={value}", flush=True)
        signal.pause()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
