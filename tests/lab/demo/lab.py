# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo looks with: kubectl, the engine's own command line, the nodes' directories, the workload.

Nothing here uses the collection, so that what the playbooks say is checked by something else.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[3]
LAB = REPO / ".lab"


class Failed(Exception):
    """A check that does not hold; the message says what was seen."""


def check(holds: object, saw: object) -> None:
    if not holds:
        raise Failed(str(saw))


def wait_for(ask: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true answer of ``ask``, which is asked every half second; Failed after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer, why = ask(), "no"
        except (OSError, Failed, subprocess.SubprocessError) as error:
            answer, why = None, str(error)
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failed(f"{what} not within {seconds:g} s ({why})")
        time.sleep(0.5)


class Kubernetes:
    """kubectl on the lab's cluster, in one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.kubeconfig = os.environ.get("KUBECONFIG") or str(LAB / "kubeconfig")
        self.binary = shutil.which("kubectl") or str(LAB / "bin" / "kubectl")

    def __call__(self, *arguments: str, fails: bool = False, seconds: float = 120) -> str:
        """stdout of a kubectl command; Failed when it fails, unless it may."""
        argv = [self.binary, f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *arguments]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"kubectl {' '.join(arguments)}: no answer within {seconds:g} s") from error
        if done.returncode and not fails:
            raise Failed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def show(self, *arguments: str) -> None:
        """A kubectl command as a person types it, with its output."""
        print(f"$ kubectl {' '.join(arguments)}\n{self(*arguments)}", flush=True)

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        found = json.loads(self("get", kind, "--output=json", *([f"--selector={selector}"] if selector else [])))
        return sorted(found["items"], key=lambda item: item["metadata"]["name"])

    def address(self) -> str:
        """InternalIP of a node: where node ports are reached."""
        addresses = self.items("nodes")[0]["status"]["addresses"]
        return next(entry["address"] for entry in addresses if entry["type"] == "InternalIP")

    def node_port(self, service: str, port: str) -> int:
        ports = json.loads(self("get", "service", service, "--output=json"))["spec"]["ports"]
        return next(entry["nodePort"] for entry in ports if entry["name"] == port)

    def on_nodes(self, *command: str) -> dict[str, str] | None:
        """stdout of a command on every node; None when the nodes are no containers on this machine."""
        names = [item["metadata"]["name"] for item in self.items("nodes")]
        said = {}
        for name in names:
            try:
                argv = ["docker", "exec", name, *command]
                done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            except FileNotFoundError:
                return None
            if "No such container" in done.stderr:
                return None
            said[name] = done.stdout.strip()
        return said

    def left_over(self, name: str) -> list[str]:
        """Whatever still carries the cluster's label or lives in its namespace, over all kinds that can be listed."""
        kinds = self("api-resources", "--verbs=list", "--output=name").split()
        namespaced = self("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
        check(len(kinds) > 20, f"only {len(kinds)} kinds were discovered")
        label = f"--selector=app.kubernetes.io/instance={name}"
        cluster_wide = [kind for kind in kinds if kind not in namespaced]
        found = self("get", ",".join(cluster_wide), "--ignore-not-found", "--output=name", label).split()
        found += self("get", ",".join(namespaced), "--ignore-not-found", "--output=name").split()
        own = ("configmap/kube-root-ca.crt", "serviceaccount/default")  # every namespace's own
        return [
            item
            for item in found
            if item not in own and (not item.startswith(("persistentvolume/", "event")) or self.namespace in item)
        ]


class Engine:
    """The engine's own command line in a pod."""

    def __init__(self, kubernetes: Kubernetes, pod: str) -> None:
        self.kubernetes, self.pod = kubernetes, pod

    def table(self, *command: str) -> list[dict[str, str]]:
        """Rows of a command's CSV, a dictionary each."""
        shell = ["timeout", "-s", "KILL", "10", "/kaiwudb/bin/kwbase", *command, "--insecure", "--format=csv"]
        said = self.kubernetes("exec", self.pod, "--container=kaiwudb", "--", *shell)
        return list(csv.DictReader(said.splitlines()))

    def live(self) -> dict[str, dict[str, str]]:
        """Live nodes that are not leaving: pod to its row, by the address it advertises."""
        rows = self.table("node", "status", "--all")
        return {
            row["address"].split(".")[0]: row
            for row in rows
            if row["is_live"] == "true" and row.get("is_decommissioning") != "true"
        }

    def row(self, node: str) -> dict[str, str]:
        return next(row for row in self.table("node", "status", "--all") if row["id"] == node)


def fetch(url: str) -> tuple[int, str]:
    """Status and text of a page; OSError when there is no answer. An HTTP error is an answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


class Workload:
    """Writes and reads with checksums through the public Service's node port, until it is stopped."""

    def __init__(self, python: str, address: str) -> None:
        self._socket, self._summary = LAB / "demo.sock", LAB / "demo-workload.json"
        self._command = [python, str(REPO / "tests" / "lab" / "workload")]
        self._summary.unlink(missing_ok=True)
        limits = ["--need-rows=500", "--need-gap=5", "--need-retries=0"]
        argv = [
            *self._command,
            "run",
            address,
            "--phase=before",
            f"--control={self._socket}",
            f"--summary={self._summary}",
        ]
        self._log = (LAB / "log" / "demo-workload.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen([*argv, *limits], stdout=self._log, stderr=self._log)

    def _ask(self, *words: str) -> dict[str, Any]:
        argv = [*self._command, *words, f"--control={self._socket}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        check(done.returncode == 0, f"workload {words[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return dict(json.loads(done.stdout))

    def enough(self) -> int:
        """Waits until the phase has 500 acknowledged rows; how many it has."""

        def rows() -> int:
            check(self._process.poll() is None, f"the workload has ended; see {self._log.name}")
            found = int(self._ask("status")["running"]["acknowledged"])
            return found if found >= 500 else 0

        return int(wait_for(rows, 60, "500 acknowledged rows"))

    def phase(self, name: str) -> None:
        """Ends the phase once it has its rows, and begins the next."""
        self.enough()
        self._ask("phase", name)

    def finish(self) -> dict[str, Any]:
        """Stops it; its summary, after it has looked for every acknowledged row."""
        self.enough()
        self._ask("stop")
        self._process.wait(timeout=120)
        return dict(json.loads(self._summary.read_text(encoding="utf-8")))

    def end(self) -> None:
        """Ends the process, whatever it does."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=60)
        self._log.close()
