# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks through the recorded blocks against a local cluster and compares each."""
from __future__ import annotations

import difflib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from conformance import actions, checks
from conformance.normalise import normalise, placement
from conformance.transcript import Block
from local.cluster import Cluster, ClusterError, die_with_parent, free_ports

HERE = Path(__file__).resolve().parent
# A recorded hang (exit code 124) was cut after 8-300 s; that the command still hangs is shown in less.
HANG_SECONDS = 4.0
COMMAND_SECONDS = 75.0
WALK_SECONDS = 215.0
PORT = re.compile(r"\b26([345])(\d\d)\b")
SPECIAL = {"placement": placement}


@dataclass(frozen=True)
class Outcome:
    """What a block came to: passed, or the differences (unified diff or the reason why it could not be asked)."""

    passed: bool
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Exclusion:
    """A block that need not pass, and why."""

    id: str
    reason: str


def load_walk() -> tuple[dict[str, dict[str, object]], dict[str, dict[str, object]]]:
    """walk.yml: walks by name, and what is special about blocks by id."""
    data = yaml.safe_load((HERE / "walk.yml").read_text(encoding="utf-8"))
    return data["walks"], data["blocks"]


def load_exclusions() -> dict[str, Exclusion]:
    """excluded.yml by block id. Raises ValueError for an entry without reason or a repeated one."""
    entries = yaml.safe_load((HERE / "excluded.yml").read_text(encoding="utf-8")) or []
    found = {entry["id"]: Exclusion(entry["id"], entry.get("reason", "").strip()) for entry in entries}
    if len(found) != len(entries) or not all(exclusion.reason for exclusion in found.values()):
        raise ValueError("excluded.yml: every block once, each with a reason")
    return found


@dataclass
class Walk:
    """The blocks of one cluster's life, in order; a block is asked when it, or a later one, is wanted."""

    blocks: list[Block]
    special: dict[str, dict[str, object]]
    cluster: Cluster
    ask_node: int | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    started: float = 0.0

    def __post_init__(self) -> None:
        """Every port that the recording names gets a free one, the same everywhere."""
        texts = "\n".join(block.command or "" for block in self.blocks)
        of_nodes = {f"26{kind}{number:02}" for kind in (3, 4, 5) for number in range(1, 6)}
        recorded = sorted({match[0] for match in PORT.finditer(texts)} | of_nodes)
        self.ports = dict(zip(recorded, map(str, free_ports(len(recorded))), strict=True))
        for number in range(1, 6):
            self.cluster.declare(number, tuple(int(self.ports[f"26{kind}{number:02}"]) for kind in (3, 4, 5)))  # type: ignore[arg-type]

    def outcome(self, block_id: str) -> Outcome:
        """The outcome of a block, after those before it."""
        self.started = self.started or time.monotonic()
        for block in self.blocks:
            if block_id in self.outcomes:
                break
            if block.id not in self.outcomes:
                self.outcomes[block.id] = self._ask(block)
        return self.outcomes[block_id]

    def close(self) -> None:
        """Ends what `--background` started (the cluster ends its own processes)."""
        actions.end_background(self._path("pid"))

    def _ask(self, block: Block) -> Outcome:
        special = self.special.get(block.id, {})
        begun = time.monotonic()
        if begun - self.started > WALK_SECONDS:
            return Outcome(False, f"not asked: the walk took more than {WALK_SECONDS:g} s")
        try:
            for line in special.get("before", []):  # type: ignore[attr-defined]
                actions.perform(self.cluster, line)
        except (ClusterError, OSError) as error:
            return Outcome(False, f"before it, `{line}`: {error}", time.monotonic() - begun)
        deadline = time.monotonic() + float(special.get("within", 0))  # type: ignore[arg-type]
        while True:
            try:
                detail = self._compare(block, special)
            except (ClusterError, OSError) as error:
                detail = f"{type(error).__name__}: {error}"
            if not detail or time.monotonic() > deadline:
                return Outcome(not detail, detail, time.monotonic() - begun)
            time.sleep(0.5)

    def _compare(self, block: Block, special: dict[str, object]) -> str:
        """Empty when the block passes, else the difference."""
        if block.command is None:
            actual = checks.observe(self.cluster, str(special["check"]), block)
            code, out, err = 0, actual, ""
        else:
            code, out, err = self._run(block, special)
        parts = []
        if code != block.exit_code:
            parts.append(f"exit code {code}, recorded {block.exit_code}\n")
        parts.append(self._difference("stdout", block.stdout, out, block, special))
        parts.append(self._difference("stderr", block.stderr, err, block, special))
        return "".join(parts)

    def _difference(self, stream: str, recorded: str, actual: str, block: Block, special: dict[str, object]) -> str:
        for name, port in self.ports.items():
            actual = re.sub(rf"\b{port}\b", name, actual)
        actual = re.sub(re.escape(str(self.cluster.root)) + r"[^\s,;:\"']*", "/data", actual)
        if block.cut and stream == "stdout":
            recorded, actual = recorded.rstrip("\n"), actual[: len(recorded.rstrip("\n"))]
        wanted, seen = normalise(recorded), normalise(actual)
        for name in special.get("forgive", []):  # type: ignore[attr-defined]
            wanted, seen = SPECIAL[name](wanted), SPECIAL[name](seen)
        if not block.exact_end:
            wanted, seen = wanted.rstrip("\n"), seen.rstrip("\n")
        if wanted == seen:
            return ""
        if wanted.splitlines() == seen.splitlines():
            return f"{stream}: last newline differs\n"
        lines = difflib.unified_diff(
            wanted.splitlines(), seen.splitlines(), f"recorded {stream}", f"actual {stream}", lineterm="", n=2
        )
        return "\n".join(lines) + "\n"

    def _run(self, block: Block, special: dict[str, object]) -> tuple[int, str, str]:
        hangs = block.exit_code == 124
        seconds = float(special.get("cut", HANG_SECONDS if hangs else COMMAND_SECONDS))  # type: ignore[arg-type]
        command = PORT.sub(lambda match: self.ports[match[0]], block.command or "")
        command = re.sub(r"^timeout \d+ ", "", self._fill(command, str(special.get("store", "fresh")), block.id))
        env = {name: value for name, value in os.environ.items() if not name.startswith("KWBASE_")}
        env |= {**self.cluster.env, "PATH": f"{self.cluster.binary.parent}:{os.environ['PATH']}", "LC_ALL": "C"}
        if self.ask_node:
            env["KWBASE_HOST"] = self.cluster.nodes[self.ask_node].sql
        return run_bounded(command, seconds, env, self._path("out"))

    def _fill(self, command: str, store: str, block_id: str) -> str:
        """Puts real paths where the recording shows /data."""
        if store == "file":
            self._path("file").write_text("no directory\n", encoding="ascii")
        place = {"fresh": self._path(f"store-{block_id}"), "file": self._path("file") / "store"}.get(store)
        place = place or self.cluster.nodes[int(store.split()[1])].store
        certs, pid = self._path("no-certs"), self._path("pid")
        certs.mkdir(exist_ok=True)
        for recorded, real in {"--store=": place, "--certs-dir=": certs, "--pid-file=": pid, "cat ": pid}.items():
            command = command.replace(f"{recorded}/data", f"{recorded}{real}")
        return command

    def _path(self, name: str) -> Path:
        return self.cluster.root / name


def run_bounded(command: str, seconds: float, env: dict[str, str], capture: Path) -> tuple[int, str, str]:
    """Runs a shell command; after `seconds` its process group gets SIGTERM (exit code 124) and 5 s later SIGKILL.

    Output goes to files, not pipes: a process that `--background` leaves behind keeps its end of a pipe open for ever.
    """
    files = [capture.with_suffix(f".{stream}") for stream in ("stdout", "stderr")]
    with files[0].open("wb") as out, files[1].open("wb") as err:
        process = subprocess.Popen(
            ["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, start_new_session=True,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = 124
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return code, *(file.read_text(encoding="utf-8", errors="backslashreplace") for file in files)  # type: ignore[return-value]
