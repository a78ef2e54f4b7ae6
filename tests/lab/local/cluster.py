# SPDX-License-Identifier: GPL-3.0-or-later
"""A KWDB cluster of local processes on 127.0.0.1: start, stop, kill, wipe, ask.

The lab's own tests (conformance, quorum honesty, careless control) use it; nothing here is Kubernetes. Any binary with
kwbase's command line serves: the stand-in, or the product.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ENGINE_DIR = Path(__file__).resolve().parents[1] / "engine"
PR_SET_PDEATHSIG = 1
# Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes one between the choice and the
# start; five digits like the ports of the transcripts, so that tables keep their widths.
PORT_RANGE = range(20000, 32000)


class ClusterError(RuntimeError):
    """A node did not do what the test needs; the message holds what was seen last."""


def reserve_port() -> socket.socket:
    """A socket bound to a TCP port of 127.0.0.1 that nobody has, and that nobody else is given while it is open.

    It does not listen, and Linux lets a server with SO_REUSEADDR (any Go program) listen at such a port all the same; who
    looks for a port binds without that option and is refused. Chosen and let go, a port could be chosen twice.
    """
    for port in random.sample(PORT_RANGE, len(PORT_RANGE)):
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return held
    raise ClusterError(f"no free port in {PORT_RANGE}")


def build_binary(target: Path) -> Path:
    """Builds the stand-in with `go build` (caches and proxies as the caller's environment says); returns its path."""
    package = "." if (ENGINE_DIR / "main.go").exists() else "./cmd/kwbase"
    command = ["go", "build", "-o", str(target), package]
    done = subprocess.run(command, cwd=ENGINE_DIR, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise ClusterError(f"go build {package}: {done.stderr.strip()}")
    return target


def die_with_parent() -> None:
    """In the child before exec: the kernel kills it when the thread that started it ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(what: str, seconds: float, predicate: Callable[[], object], pause: float = 0.1) -> None:
    """Polls `predicate` until it is truthy; raises ClusterError naming `what` after `seconds`."""
    end = time.monotonic() + seconds
    while not predicate():
        if time.monotonic() > end:
            raise ClusterError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


@dataclass
class Node:
    """One ordinal: its addresses and store stay when its process is stopped and started again."""

    number: int
    sql: str
    http: str
    brpc: str
    store: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def log(self, stream: str) -> Path:
        """File with stdout or stderr of the newest process."""
        return self.store.with_name(f"{self.store.name}.{self.starts}.{stream}")

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Cluster:
    """Nodes by number (1…), all started with one --join list; use as a context manager, which ends every process."""

    binary: Path
    root: Path
    join: tuple[int, ...] = (1, 2, 3)
    env: dict[str, str] = field(default_factory=dict)
    nodes: dict[int, Node] = field(default_factory=dict)
    held: dict[int, socket.socket] = field(default_factory=dict)

    def __enter__(self) -> Cluster:
        self.root.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *exc: object) -> None:
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is None:
                node.process.kill()
                node.process.wait()
        for held in self.held.values():
            held.close()

    def port(self) -> int:
        """A port that is this cluster's until it ends, listened at or not."""
        held = reserve_port()
        number: int = held.getsockname()[1]
        self.held[number] = held
        return number

    def declare(self, number: int) -> Node:
        """The node of this number; made, with ports of its own, on first use."""
        if number not in self.nodes:
            sql, http, brpc = (f"127.0.0.1:{self.port()}" for _ in range(3))
            self.nodes[number] = Node(number, sql, http, brpc, self.root / f"node{number}")
        return self.nodes[number]

    def start(self, *numbers: int, flags: tuple[str, ...] = ()) -> None:
        """Starts the nodes' processes; returns at once (see `await_ready`)."""
        join = ",".join(self.declare(number).sql for number in self.join)
        for number in numbers:
            node = self.declare(number)
            if node.running:
                raise ClusterError(f"node {number} is running already")
            node.starts += 1
            arguments = [
                str(self.binary), "start", "--insecure", f"--listen-addr={node.sql}", f"--http-addr={node.http}",
                f"--brpc-addr={node.brpc}", f"--store={node.store}", f"--join={join}", *flags,
            ]  # fmt: skip
            with node.log("stdout").open("wb") as out, node.log("stderr").open("wb") as err:
                node.process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **self.env},
                    preexec_fn=die_with_parent,
                )  # fmt: skip

    def signal(self, number: int, name: str, seconds: float = 30) -> int:
        """Sends SIG<name>, waits for the end and returns the exit code as a shell shows it (128 + signal)."""
        process = self.declare(number).process
        if process is None:
            raise ClusterError(f"node {number} was never started")
        process.send_signal(getattr(signal, f"SIG{name}"))
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"node {number} did not end within {seconds:g} s of SIG{name}") from None
        return code if code >= 0 else 128 - code

    def kill(self, *numbers: int) -> None:
        """SIGKILL to all of them at once, then waits for their ends."""
        for number in numbers:
            process = self.nodes[number].process
            if process is not None:
                process.kill()
        for number in numbers:
            process = self.nodes[number].process
            if process is not None:
                process.wait()

    def wipe(self, number: int) -> None:
        """Empties the store of a stopped node."""
        node = self.nodes[number]
        if node.running:
            raise ClusterError(f"node {number} runs: its store cannot be wiped")
        shutil.rmtree(node.store, ignore_errors=True)

    def get(self, number: int, path: str, seconds: float = 3) -> tuple[int, str]:
        """HTTP GET at a node: status (0 when nobody answers) and body."""
        try:
            with urllib.request.urlopen(f"http://{self.declare(number).http}{path}", timeout=seconds) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def await_http(self, number: int, path: str, status: int = 200, seconds: float = 30) -> None:
        """Waits until GET `path` answers `status`; what it answered last and how its log ends is told when it does not."""
        try:
            wait_until(f"node {number} {path} answers {status}", seconds, lambda: self.get(number, path)[0] == status)
        except ClusterError as error:
            raise ClusterError(f"{error}; {self.told(number)}") from None

    def told(self, number: int) -> str:
        """How a node stands, for the message of whoever waited for it in vain."""
        node = self.declare(number)
        state = (
            "runs" if node.running else f"ended with {node.process.returncode}" if node.process else "was never started"
        )
        answered, body = self.get(number, "/health?ready=1")
        logs = (node.store / "logs").glob("*.log")
        ends = [path.read_text(errors="replace")[-500:] for path in (node.log("stderr"), *logs) if path.exists()]
        return f"it {state}, readiness {answered} {body.strip()}, logs: {' / '.join(ends)}"

    def await_ready(self, *numbers: int, seconds: float = 30) -> None:
        """Waits until /health?ready=1 answers 200 at each of them."""
        for number in numbers:
            self.await_http(number, "/health?ready=1", 200, seconds)

    def cli(self, *arguments: str, at: int = 1, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        """Runs `kwbase <arguments> --insecure --host=<node at>`; exit code 124 when cut after `seconds`."""
        command = [str(self.binary), *arguments, "--insecure", f"--host={self.declare(at).sql}"]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False, env={**os.environ, **self.env}
            )
        except subprocess.TimeoutExpired as cut:
            return subprocess.CompletedProcess(command, 124, _text(cut.stdout), _text(cut.stderr))

    def sql(self, statement: str, at: int = 1, seconds: float = 30) -> list[list[str]]:
        """Rows (without header) of one statement through the CLI as text cells; raises ClusterError with its stderr."""
        done = self.cli("sql", "--format=tsv", "-e", statement, at=at, seconds=seconds)
        if done.returncode:
            raise ClusterError(f"{statement}: exit {done.returncode}: {done.stderr.strip()}")
        return [line.split("\t") for line in done.stdout.splitlines()[1:]]

    def liveness(self, at: int = 1) -> dict[int, dict[str, object]]:
        """Liveness records by node id, from /_admin/v1/liveness (needs no quorum)."""
        status, body = self.get(at, "/_admin/v1/liveness")
        return {row["nodeId"]: row for row in json.loads(body)["livenesses"]} if status == 200 else {}

    def form(self, *numbers: int) -> None:
        """Starts these nodes, initialises through the first and waits until all are ready and have their ids."""
        self.start(*numbers)
        self.await_http(numbers[0], "/health")
        done = self.cli("init", at=numbers[0])
        if done.returncode:
            raise ClusterError(f"init: {done.stderr.strip()}")
        self.await_ready(
            *numbers, seconds=60
        )  # a new cluster's nodes join one after the other, on machines that do much else
        self.renumber()

    def renumber(self) -> None:
        """Gives each node the number that the cluster gave it as its id: who joins first is chance."""
        ids = {row[1]: int(row[0]) for row in self.sql("select node_id, address from kwdb_internal.gossip_nodes")}
        nodes = {ids.get(node.sql, node.number): node for node in self.nodes.values()}
        if len(nodes) != len(self.nodes):
            raise ClusterError(f"two nodes of one number: {ids}")
        for number, node in nodes.items():
            node.number = number
        self.nodes = nodes

    def whole(self, at: int = 1) -> bool:
        """True when every range has three replicas on live nodes: what is wanted of three and of four nodes alike."""
        live = {row[0] for row in self.sql("select node_id from kwdb_internal.gossip_nodes where is_live", at=at)}
        rows = self.sql("select range_id, replicas from kwdb_internal.ranges_no_leases", at=at)
        return bool(rows) and all(len(live & set(row[1].strip('"{}').split(","))) >= 3 for row in rows)


def _text(data: bytes | str | None) -> str:
    return data.decode() if isinstance(data, bytes) else data or ""
