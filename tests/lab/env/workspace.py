# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Where the stages run: environments, a clean copy of the collection, the installed collection, and bounded commands."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[3]
LAB = REPO / ".lab"
BIN = LAB / "bin"
LOGS = LAB / "log"
RESULTS = LAB / "results"
HERE = REPO / "tests" / "lab" / "env"
KIND = REPO / "tests" / "lab" / "kind"
COLLECTIONS = LAB / "collections"  # the collection as a user installs it, from its tarball
TREE = LAB / "tree"  # the checkout's files without what git ignores, at the path Ansible's tools insist on
COLLECTION = TREE / "ansible_collections" / "kaiwudb" / "kubernetes"
IMAGE_VARIABLES = ("KAIWUDB_IMAGE", "KAIWUDB_UPGRADE_IMAGE")
_OUTSIDE = ("tests/lab/", "tests/bench/", ".ci/")  # of the checkout, but never of the collection


_installed: set[Path] = set()  # where this process has installed the collection
deadline = float("inf")  # of the whole run, by time.monotonic(); set once, by who starts it


class StageError(RuntimeError):
    """A stage cannot run; the message says why."""


@dataclass(frozen=True)
class Python:
    """One environment: its directory and the versions in it."""

    venv: Path
    python: str
    core: str

    def __str__(self) -> str:
        return f"Python {self.python}, ansible-core {self.core}"


@functools.cache
def python(which: str = "first") -> Python | None:
    """The environment ``first`` or ``newer``, made where it is missing; None where there is no newer Python.

    Raises StageError when it cannot be made.
    """
    done = subprocess.run(
        [HERE / "venv", which], stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode == 3:
        return None
    if done.returncode:
        raise StageError(f"the {which} Python environment could not be made (see above)")
    venv = Path(done.stdout.strip())
    ask = "import platform; from importlib.metadata import version; print(platform.python_version(), version('ansible-core'))"
    versions = subprocess.run(
        [venv / "bin" / "python", "-c", ask], capture_output=True, text=True, check=True
    ).stdout.split()
    return Python(venv, versions[0], versions[1])


class Command:
    """A command without stdin in a process group of its own, its output appended to ``log`` (and shown when ``echo``).

    Whoever starts one waits for it (:meth:`wait`) or ends it (:meth:`end`).
    """

    def __init__(
        self,
        argv: Sequence[object],
        log: Path,
        *,
        cwd: Path = REPO,
        env: Mapping[str, object] | None = None,
        echo: bool = False,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [str(word) for word in argv]
        self.log = log
        with log.open("ab") as file:
            file.write(f"\n$ {' '.join(words)}\n".encode())
            file.flush()
            start = file.tell()
            self._process = subprocess.Popen(
                words,
                cwd=cwd,
                env={**os.environ, **{name: str(value) for name, value in (env or {}).items()}},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # `tail` ends with the command, so that what is shown is what the log holds.
        tail = ["tail", f"--pid={self._process.pid}", "--sleep-interval=0.2", "-c", f"+{start + 1}", "-f", str(log)]
        self._watcher = subprocess.Popen(tail) if echo else None

    def wait(self, seconds: float) -> int:
        """The exit code; after ``seconds``, or at the run's deadline, the whole group is ended and the answer is 124."""
        seconds = min(seconds, max(1.0, deadline - time.monotonic()))
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(f"\nended after {seconds:g} s: it took too long\n")
            return 124
        finally:
            self.end()

    def end(self) -> None:
        """Ends what is left of the group, and waits for the last shown line."""
        _end_group(self._process)
        if self._watcher:
            self._watcher.wait()


def run(argv: Sequence[object], log: Path, *, seconds: float = 1800, **options: Any) -> int:
    """Runs a :class:`Command` to its end and returns its exit code (124: it took longer than ``seconds``)."""
    return Command(argv, log, **options).wait(seconds)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends whatever is left of the command's process group, first politely."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGTERM and not _group_lives(process.pid):
            return


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def tail_of(log: Path, lines: int = 40) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) if log.exists() else ""


def ansible_env(environment: Python, collections: Path = COLLECTIONS) -> dict[str, str]:
    """Environment variables for Ansible's tools: this environment first, this collection only, nothing in the user's home."""
    return {
        "PATH": f"{environment.venv / 'bin'}:{BIN}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(LAB / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "VIRTUAL_ENV": str(environment.venv),
    }


def cluster_env() -> dict[str, str]:
    """Environment variables for what runs against the lab's cluster; the images may be the real product's."""
    return {
        "KUBECONFIG": str(LAB / "kubeconfig"),
        "K8S_AUTH_KUBECONFIG": str(LAB / "kubeconfig"),
        "KAIWUDB_AUDIT_LOG": str(LAB / "audit" / "audit.log"),
        "KAIWUDB_IMAGE": os.environ.get("KAIWUDB_IMAGE", "kwdb-standin:3.2.1"),
        "KAIWUDB_UPGRADE_IMAGE": os.environ.get("KAIWUDB_UPGRADE_IMAGE", "kwdb-standin:3.2.2"),
    }


def kubernetes_version() -> str:
    """The version of the lab's cluster, for a person to read; says so when there is none."""
    kubectl = BIN / "kubectl" if (BIN / "kubectl").exists() else "kubectl"
    argv = [kubectl, f"--kubeconfig={LAB / 'kubeconfig'}", "--request-timeout=10s", "get", "--raw=/version"]
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "no Kubernetes cluster"
    return f"Kubernetes {json.loads(answer)['gitVersion']}"


def sync_tree() -> Path:
    """Brings the clean copy up to date (only files that changed are written) and returns its directory."""
    if not shutil.which("git"):
        raise StageError("git is needed: apt-get install git")
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    wanted = {name for name in listed if name and not name.startswith(_OUTSIDE) and (REPO / name).is_file()}
    COLLECTION.mkdir(parents=True, exist_ok=True)
    if not (
        COLLECTION / ".git"
    ).exists():  # ansible-test asks git for the files; an outer repository would say "ignored"
        subprocess.run(["git", "init", "-q", COLLECTION], check=True)
    for name in sorted(wanted):
        source, target = REPO / name, COLLECTION / name
        if target.is_file() and _stamp(source) == _stamp(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    for directory, folders, names in os.walk(COLLECTION, topdown=True):
        here = Path(directory)
        if here == COLLECTION:
            folders[:] = [folder for folder in folders if folder != ".git"]
        for name in names:
            if (here / name).relative_to(COLLECTION).as_posix() not in wanted:
                (here / name).unlink()
    for directory, _folders, _names in os.walk(COLLECTION, topdown=False):
        if ".git" not in Path(directory).relative_to(COLLECTION).parts and not os.listdir(directory):
            os.rmdir(directory)
    return COLLECTION


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_mode


def build(environment: Python, log: Path) -> Path:
    """Builds the collection's tarball from the clean copy and returns its path. Raises StageError."""
    sync_tree()
    dist = LAB / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    argv = [
        environment.venv / "bin" / "ansible-galaxy",
        "collection",
        "build",
        COLLECTION,
        "--output-path",
        dist,
        "--force",
    ]
    if run(argv, log, env=ansible_env(environment, TREE), seconds=120):
        raise StageError(f"ansible-galaxy collection build failed: {tail_of(log, 5)}")
    return next(dist.glob("*.tar.gz"))


def install(environment: Python, log: Path) -> Path:
    """Installs the collection from its tarball into .lab/collections and returns its directory. Raises StageError.

    Once for all stages of a run: all of them test the same state.
    """
    place = COLLECTIONS / "ansible_collections" / "kaiwudb" / "kubernetes"
    if COLLECTIONS in _installed and place.is_dir():
        return place
    tarball = build(environment, log)
    galaxy = environment.venv / "bin" / "ansible-galaxy"
    argv = [galaxy, "collection", "install", tarball, "-p", COLLECTIONS, "--force", "--no-deps", "--offline"]
    if run(argv, log, env=ansible_env(environment), seconds=120):
        raise StageError(f"ansible-galaxy collection install failed: {tail_of(log, 5)}")
    _installed.add(COLLECTIONS)
    return place


def ansible_test_env(environment: Python) -> dict[str, str]:
    """ansible-test with a home of its own: its bootstrap of pip stands there, and the user's pip settings as a file.

    ansible-test fetches get-pip from a host of its own and passes no PIP_* variables on; both would fail where only a
    package index is reachable.
    """
    home = LAB / "home"
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    source = next(environment.venv.glob("lib/python3.*/site-packages/ansible_test/_internal/python_requirements.py"))
    for version in re.findall(r"pip='([\d.]+)'", source.read_text(encoding="utf-8")):
        shutil.copy2(HERE / "get-pip.py", cache / f"get_pip_{version.replace('.', '_')}.py")
    pip = environment.venv / "bin" / "pip"
    listed = subprocess.run([pip, "config", "list"], capture_output=True, text=True, check=True).stdout
    settings = {}
    for line in listed.splitlines():  # global.index-url='https://…' or :env:.cert='…'; later lines win
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = value.strip("'\"")
    settings.setdefault(
        "cache-dir", subprocess.run([pip, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    )
    config = home / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()), encoding="utf-8")
    environ = ansible_env(environment, TREE)
    environ.pop("ANSIBLE_HOME")
    return {**environ, "HOME": str(home)}
