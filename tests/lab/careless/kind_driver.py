# SPDX-License-Identifier: GPL-3.0-or-later
"""The Driver over pods of a Kubernetes cluster (kubectl, KUBECONFIG as the environment says)."""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.cluster import ClusterError, wait_until

KWBASE = "/kaiwudb/bin/kwbase"
MANIFEST = Path(__file__).resolve().parent / "cluster.yaml"


@dataclass
class KindDriver:
    """Four pods db-0 … db-3 with emptyDir stores in a namespace of their own, which `close` deletes."""

    image: str
    namespace: str = "careless"
    replicas: int = 4
    uids: dict[int, str] = field(default_factory=dict)

    def form(self) -> None:
        """Creates everything and initialises; the namespace must not exist."""
        self._kubectl("create", "namespace", self.namespace)
        text = MANIFEST.read_text(encoding="utf-8").replace("IMAGE", self.image)
        self._kubectl("apply", "-f", "-", stdin=text)
        wait_until("four pods run", 120, lambda: [self._phase(n) for n in range(4)] == ["Running"] * 4, 1)
        wait_until("init is accepted", 60, self._init, 1)
        wait_until("four pods are ready", 60, lambda: all(self._ready(n) for n in range(4)), 1)

    def close(self) -> None:
        """Deletes the namespace; the pods need no drain."""
        with contextlib.suppress(ClusterError):
            self._kubectl("delete", "pods", "--all", "--grace-period=1", "--wait=false")
        self._kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")

    def addresses(self) -> list[str]:
        """The public Service at every schedulable node's address."""
        service = self._json("get", "service", "db-public")
        port = service["spec"]["ports"][0]["nodePort"]
        nodes = [node for node in self._json("get", "nodes")["items"] if not node["spec"].get("taints")]
        entries = [entry for node in nodes for entry in node["status"]["addresses"]]
        return [f"{entry['address']}:{port}" for entry in entries if entry["type"] == "InternalIP"]

    def stop(self, ordinal: int) -> None:
        """The highest ordinal is scaled away; another's pod is deleted, and the controller makes it anew, empty."""
        self.uids[ordinal] = self._pod(ordinal)["metadata"]["uid"]
        if ordinal == self.replicas - 1:
            self._scale(ordinal)
            wait_until(f"pod db-{ordinal} is gone", 60, lambda: not self._pod(ordinal), 0.5)
        else:
            self._kubectl("delete", "pod", f"db-{ordinal}", "--wait=false")
            wait_until(f"pod db-{ordinal} is another", 60, lambda: self._is_new(ordinal), 0.5)

    def wipe(self, ordinal: int) -> None:
        """An emptyDir went with its pod; that the pod is gone, or another, has been seen."""
        pod = self._pod(ordinal)
        if pod and pod["metadata"]["uid"] == self.uids[ordinal]:
            raise ClusterError(f"pod db-{ordinal} still has its store")

    def start(self, ordinal: int) -> None:
        """Scales out to this ordinal if it is not there; waits for readiness, which a lost quorum may withhold."""
        if self.replicas <= ordinal:
            self._scale(ordinal + 1)
        with contextlib.suppress(ClusterError):
            wait_until(f"pod db-{ordinal} is ready", 40, lambda: self._ready(ordinal), 1)

    def decommission(self, ordinal: int) -> None:
        """By exact address and liveness: an emptied pod's address has two rows."""
        where = f"address = 'db-{ordinal}.db:26257' and is_live"
        rows = self._sql(f"select node_id from kwdb_internal.gossip_nodes where {where}")
        if len(rows) != 1:
            raise ClusterError(f"{len(rows)} live nodes where {where}")
        self._exec(KWBASE, "node", "decommission", rows[0][0], "--wait=all", "--insecure", seconds=180)

    def await_whole(self) -> None:
        """Every range has three replicas on live nodes."""
        wait_until("every range is whole", 90, self._whole, 1)

    def _whole(self) -> bool:
        live = {row[0] for row in self._sql("select node_id from kwdb_internal.gossip_nodes where is_live")}
        rows = self._sql("select range_id, replicas from kwdb_internal.ranges_no_leases")
        return bool(rows) and all(len(live & set(row[1].strip('"{}').split(","))) >= 3 for row in rows)

    def _init(self) -> bool:
        with contextlib.suppress(ClusterError):
            self._exec("timeout", "-s", "KILL", "10", KWBASE, "init", "--insecure")
            return True
        return False

    def _sql(self, statement: str) -> list[list[str]]:
        text = self._exec("timeout", "-s", "KILL", "15", KWBASE, "sql", "--insecure", "--format=tsv", "-e", statement)
        return [line.split("\t") for line in text.splitlines()[1:]]

    def _exec(self, *command: str, seconds: float = 30) -> str:
        return self._kubectl("exec", "db-0", "--", *command, seconds=seconds)

    def _pod(self, ordinal: int) -> dict[str, Any]:
        return self._json("get", "pod", f"db-{ordinal}", "--ignore-not-found")

    def _phase(self, ordinal: int) -> str:
        return str(self._pod(ordinal).get("status", {}).get("phase", ""))

    def _is_new(self, ordinal: int) -> bool:
        pod = self._pod(ordinal)
        return bool(pod) and pod["metadata"]["uid"] != self.uids[ordinal]

    def _ready(self, ordinal: int) -> bool:
        conditions = self._pod(ordinal).get("status", {}).get("conditions", [])
        return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)

    def _scale(self, replicas: int) -> None:
        self._kubectl("scale", "statefulset", "db", f"--replicas={replicas}")
        self.replicas = replicas

    def _json(self, *arguments: str) -> dict[str, Any]:
        text = self._kubectl(*arguments, "-o", "json")
        return dict(json.loads(text)) if text else {}

    def _kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
        command = ["kubectl", "-n", self.namespace, *arguments]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{' '.join(command)}: no answer in {seconds:g} s") from None
        if done.returncode:
            raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout
