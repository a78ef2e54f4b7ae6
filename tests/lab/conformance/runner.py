# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks through the recorded blocks against a local cluster and compares each."""

from __future__ import annotations

import difflib
import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import yaml

from conformance import actions, checks
from conformance.normalise import normalise, placement
from conformance.transcript import Block
from local.cluster import Cluster, ClusterError, die_with_parent

HERE = Path(__file__).resolve().parent
# A recorded hang (exit code 124) was cut after 8-300 s; that the command still hangs is shown in less.
HANG_SECONDS = 3.0
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
    """The blocks of one cluster's life, in order."""

    blocks: list[Block]
    special: dict[str, dict[str, object]]
    cluster: Cluster
    ask_node: int | None = None
    begin: tuple[str, ...] = ()
    free: dict[str, int] = field(default_factory=dict)
    started: float = 0.0

    def __post_init__(self) -> None:
        """Every port that the recording names gets a free one, the same everywhere."""
        texts = "\n".join(block.command or "" for block in self.blocks)
        for number in range(1, 6):
            self.cluster.declare(number)
        others = sorted({match[0] for match in PORT.finditer(texts)} - set(self.ports))
        self.free = {recorded: self.cluster.port() for recorded in others}

    @property
    def ports(self) -> dict[str, str]:
        """Recorded port to real one: those of nodes (2630i RPC and SQL, 2640i HTTP, 2650i brpc) and of nobody."""
        real = {recorded: str(port) for recorded, port in self.free.items()}
        for number, node in self.cluster.nodes.items():
            for kind, address in ((3, node.sql), (4, node.http), (5, node.brpc)):
                real[f"26{kind}{number:02}"] = address.rpartition(":")[2]
        return real

    def run(self) -> Iterator[tuple[str, Outcome]]:
        """Asks the blocks in their order; ids and outcomes. Every process has ended afterwards."""
        self.started = time.monotonic()
        try:
            with self.cluster:
                trouble = self._perform(self.begin)
                if trouble:
                    trouble = f"the walk did not begin: {trouble}"
                for block in self.blocks:
                    yield block.id, Outcome(False, trouble) if trouble else self._ask(block)
        finally:
            self.end_background()

    def end_background(self) -> None:
        """Ends what `--background` started: it is no child of ours."""
        actions.end_background(self._path("pid"))

    def _ask(self, block: Block) -> Outcome:
        special = self.special.get(block.id, {})
        begun = time.monotonic()
        if begun - self.started > WALK_SECONDS:
            return Outcome(False, f"not asked: the walk took more than {WALK_SECONDS:g} s")
        trouble = self._perform(special.get("before", []))  # type: ignore[arg-type]
        if trouble:
            return Outcome(False, f"before it, {trouble}", time.monotonic() - begun)
        deadline = time.monotonic() + float(special.get("within", 0))  # type: ignore[arg-type]
        while True:
            try:
                detail = self._compare(block, special)
            except (ClusterError, OSError) as error:
                detail = f"{type(error).__name__}: {error}"
            if not detail or time.monotonic() > deadline:
                return Outcome(not detail, detail, time.monotonic() - begun)
            time.sleep(0.5)

    def _perform(self, lines: Iterable[str]) -> str:
        """Performs actions; empty, or what went wrong with the first that failed."""
        for line in lines:
            try:
                actions.perform(self.cluster, line)
            except (ClusterError, OSError) as error:
                return f"`{line}`: {error}"
        return ""

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
        wanted, seen = normalise(recorded), normalise(actual)
        if block.cut and stream == "stdout":
            # The last word of a cut recording may be half a word.
            wanted = wanted.rstrip("\n").rpartition(" ")[0]
            seen = seen[: len(wanted)]
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
        ports = self.ports
        command = PORT.sub(lambda match: ports[match[0]], block.command or "")
        command = re.sub(r"^timeout \d+ ", "", self._fill(command, str(special.get("store", "fresh")), block.id))
        env = {name: value for name, value in os.environ.items() if not name.startswith("KWBASE_")}
        env |= {**self.cluster.env, "PATH": f"{self.cluster.binary.parent}:{os.environ['PATH']}", "LC_ALL": "C"}
        if self.ask_node:
            env["KWBASE_HOST"] = self.cluster.nodes[self.ask_node].sql
            # No shell was between: what stands between the outer quotes is the statement, letter by letter.
            words, _, statement = command.partition(' "')
            command = f"{words} {shlex.quote(statement.removesuffix(chr(34)))}"
        return run_bounded(command, seconds, env, self._path("out"))

    def _fill(self, command: str, store: str, block_id: str) -> str:
        """Puts real paths where the recording shows /data."""
        if store == "file":
            self._path("file").write_text("no directory\n", encoding="ascii")
        place = {"fresh": self._path(f"store-{block_id}"), "file": self._path("file")}.get(store)
        place = place or self.cluster.nodes[int(store.split()[1])].store
        certs, pid = self._path("no-certs"), self._path("pid")
        certs.mkdir(exist_ok=True)
        for recorded, real in {"--store=": place, "--certs-dir=": certs, "--pid-file=": pid, "cat ": pid}.items():
            command = command.replace(f"{recorded}/data", f"{recorded}{real}")
        return command

    def _path(self, name: str) -> Path:
        return self.cluster.root / name


class Process:
    """A walk in a process of its own, so that walks go side by side; outcomes arrive as they are found."""

    def __init__(self, walk: Walk) -> None:
        context = multiprocessing.get_context("fork")
        self._walk = walk
        self._outcomes: dict[str, Outcome] = {}
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_walk_in_child, args=(walk, sender), daemon=False)
        self._process.start()
        sender.close()

    def outcome(self, block_id: str) -> Outcome:
        """Waits for the block's outcome."""
        while block_id not in self._outcomes:
            try:
                name, outcome = self._receiver.recv()
            except EOFError:
                return Outcome(False, "not asked: the walk's process ended before")
            self._outcomes[name] = outcome
        return self._outcomes[block_id]

    def close(self) -> None:
        """Ends the walk wherever it is; its nodes die with it (PR_SET_PDEATHSIG)."""
        self._process.kill()
        self._process.join()
        self._walk.end_background()


def _walk_in_child(walk: Walk, sender: Connection) -> None:
    for found in walk.run():
        sender.send(found)


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
