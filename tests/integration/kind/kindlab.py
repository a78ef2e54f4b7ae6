# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What the tests on a real cluster share: kubectl, Ansible as a user calls it, a namespace of one's own, the audit log.

Every run of the collection goes by a ServiceAccount of the test's namespace that is bound to the shipped Role and
ClusterRole (examples/rbac) and nothing else. So each test also proves that these are enough, and the audit log tells
exactly this test's requests from everybody else's by their user.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).resolve().parents[3]
LAB = REPO / ".lab"
sys.path.insert(0, str(REPO / "tests" / "lab" / "apiserver"))
from audit import AuditLog, Request  # noqa: E402  # pylint: disable=wrong-import-position

KUBECONFIG = Path(os.environ.get("KUBECONFIG") or LAB / "kubeconfig")
AUDIT_LOG = Path(os.environ.get("KAIWUDB_AUDIT_LOG") or LAB / "audit" / "audit.log")
IMAGE = os.environ.get("KAIWUDB_IMAGE") or "kwdb-standin:3.2.1"
UPGRADE_IMAGE = os.environ.get("KAIWUDB_UPGRADE_IMAGE") or "kwdb-standin:3.2.2"
FINGERPRINT = "kaiwudb.kubernetes/fingerprint"  # the annotation that says whose store it is
CRASH_IMAGE = "kwdb-standin:3.2.3-crash"
NEXT_IMAGE = "kwdb-standin:3.3.0"  # brings another cluster version; no such release of the product exists yet
STANDIN = "standin" in IMAGE
ACCOUNT = "kaiwudb-ansible"  # as the shipped Role's own comment calls it
MODULE = "kaiwudb.kubernetes.kaiwudb_cluster"

Object = dict[str, Any]


def program(name: str) -> str:
    """The lab's own program, else the one on the path."""
    own = LAB / "bin" / name
    return str(own) if own.exists() else name


def until(what: str, predicate: Callable[[], Any], seconds: float = 60, pause: float = 0.3) -> Any:
    """The first true answer of ``predicate``; AssertionError with ``what`` after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        answer = predicate()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(pause)


def kubectl(*words: str, stdin: str | None = None, check: bool = True, seconds: float = 60) -> str:
    """What kubectl prints, as the cluster's administrator."""
    done = subprocess.run(
        [program("kubectl"), "--kubeconfig", str(KUBECONFIG), *words],
        input=stdin, capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
    return done.stdout


def cluster_answers() -> str:
    """Empty when the tests can run, else why they cannot."""
    if not KUBECONFIG.exists():
        return f"no Kubernetes cluster: {KUBECONFIG} does not exist (make one with tests/lab/kind/up)"
    try:
        nodes = json.loads(kubectl("get", "nodes", "--output=json", "--request-timeout=10s"))["items"]
    except (AssertionError, ValueError, OSError, subprocess.TimeoutExpired) as error:
        return f"the Kubernetes cluster of {KUBECONFIG} does not answer: {error}"
    if len(nodes) < 4:
        return f"{len(nodes)} Kubernetes nodes; these tests need a control plane and four workers"
    if not AUDIT_LOG.exists():
        return f"no audit log at {AUDIT_LOG} (KAIWUDB_AUDIT_LOG names another); requests could not be counted"
    return ""


def collections_tree(parent: Path) -> Path:
    """A collections path that holds this checkout under its fully qualified name, or the one KAIWUDB_COLLECTIONS names."""
    if os.environ.get("KAIWUDB_COLLECTIONS"):
        return Path(os.environ["KAIWUDB_COLLECTIONS"]).resolve()
    place = parent / "ansible_collections" / "kaiwudb"
    place.mkdir(parents=True, exist_ok=True)
    link = place / "kubernetes"
    if not link.is_symlink():
        link.symlink_to(REPO)
    return parent


@dataclass
class Result:
    """What one task answered. ``seconds``: of the whole ansible process; ``output``: all it printed."""

    data: Object
    output: str
    seconds: float
    requests: list[Request] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.data.get("failed"))

    @property
    def steps(self) -> list[str]:
        return list(self.data.get("steps") or ())

    @property
    def msg(self) -> str:
        return str(self.data.get("msg", ""))

    @property
    def writes(self) -> list[str]:
        return [str(request) for request in self.requests if request.kind == "write"]

    def count(self, kind: str) -> int:
        return sum(request.kind == kind for request in self.requests)


class Process:
    """An ansible run in the background."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str], cwd: Path) -> None:
        self.started = time.monotonic()
        self.log = Path(tempfile.mkstemp(dir=cwd, prefix="run-", suffix=".log")[1])
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                env=environment,
                cwd=cwd,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL to ansible and to all that it started; its workers and modules have sessions of their own."""
        self.sleep()  # so that none of them starts another meanwhile
        self._signal(signal.SIGKILL)
        self._process.wait(10)

    def sleep(self) -> None:
        """As when its machine is suspended: nothing of it moves until `wake`."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for pid in [self._process.pid, *_descendants(self._process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self, seconds: float = 300) -> Result:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"ansible did not end within {seconds:g} s:\n{self.output[-3000:]}") from None
        return Result(answer(self.output), self.output, time.monotonic() - self.started)


def _descendants(pid: int) -> list[int]:
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def answer(output: str) -> Object:
    """The task's result out of what `ansible` prints: HOST | STATE => JSON."""
    found = re.search(r"^localhost \| (SUCCESS|CHANGED|FAILED!|UNREACHABLE!) => (?=\{)", output, re.MULTILINE)
    assert found, f"no result in what ansible printed:\n{output[-3000:]}"
    data: Object = json.JSONDecoder().raw_decode(output[found.end() :])[0]
    return {**data, "failed": found[1] in ("FAILED!", "UNREACHABLE!")}


class Place:
    """A namespace of one's own with an account of one's own. ``user`` is the name of that account in the audit log."""

    def __init__(self, home: Path, options: Object | None = None) -> None:
        self.namespace = f"t-{secrets.token_hex(4)}"
        self.home = home
        self.user = f"system:serviceaccount:{self.namespace}:{ACCOUNT}"
        self.local_path = f"/var/lib/kaiwudb-tests/{self.namespace}"
        self.collections = collections_tree(home / "collections")
        self.audit = AuditLog(AUDIT_LOG, KUBECONFIG)
        self.defaults: Object = {
            "namespace": self.namespace, "image": IMAGE, "security": "insecure", "local_path": self.local_path, "storage_size": "1Gi",
            "pre_stop_seconds": "0", "env": {"KWDB_LAB_MOVE_INTERVAL": "100ms"},
            "waive": ["ranges_steady"],  # 15 s before each restart; test_upgrades.py has it judged
            **(options or {}),
        }  # fmt: skip
        kubectl("create", "namespace", self.namespace)
        self.born = self.audit.mark()
        self.kubeconfig = self.account(ACCOUNT)

    # ---- accounts

    def account(self, name: str, without: tuple[str, ...] = ()) -> Path:
        """The kubeconfig of an account with the shipped rights. without: a resource and the verbs it lacks there."""
        objects: list[Object] = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}]
        for file, binding in (("role.yml", "RoleBinding"), ("clusterrole.yml", "ClusterRoleBinding")):
            role = yaml.safe_load((REPO / "examples" / "rbac" / file).read_text())
            own = name if binding == "RoleBinding" else f"{self.namespace}-{name}"
            role["metadata"]["name"] = own
            for rule in role["rules"]:
                if without and without[0] in rule["resources"]:
                    rule["verbs"] = [verb for verb in rule["verbs"] if verb not in without[1:]]
            objects += [role, {
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": binding, "metadata": {"name": own},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": own},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
            }]  # fmt: skip
        kubectl("--namespace", self.namespace, "apply", "--filename=-", stdin=yaml.safe_dump_all(objects))
        return self._kubeconfig(name)

    def _kubeconfig(self, name: str) -> Path:
        admin = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=yaml"))
        token = kubectl("create", "token", name, "--namespace", self.namespace, "--duration=2h").strip()
        mine = {
            **admin, "users": [{"name": name, "user": {"token": token}}], "current-context": "the-context",
            "contexts": [{"name": "the-context", "context": {"cluster": admin["clusters"][0]["name"], "user": name}}],
        }  # fmt: skip
        path = self.home / f"{self.namespace}-{name}.kubeconfig"
        path.write_text(yaml.safe_dump(mine))
        path.chmod(0o600)
        return path

    # ---- the collection, as a user calls it

    def environment(self, collections: Path | None = None, **more: str) -> dict[str, str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("ANSIBLE_", "K8S_AUTH_", "KUBECONFIG", "PYTEST"))
        }
        python = self._python()
        return kept | {
            "PATH": f"{Path(python).parent}:{os.environ['PATH']}", "ANSIBLE_COLLECTIONS_PATH": str(collections or self.collections),
            "ANSIBLE_HOME": str(self.home / "ansible"), "ANSIBLE_PYTHON_INTERPRETER": python, "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "K8S_AUTH_KUBECONFIG": str(self.kubeconfig), **more,
        }  # fmt: skip

    @staticmethod
    def _python() -> str:
        own = LAB / "venv-3.11" / "bin" / "python"
        return str(own) if own.exists() else sys.executable

    def start(
        self, name: str, *, check: bool = False, module: str = MODULE, collections: Path | None = None,
        environment: dict[str, str] | None = None, **options: Any,
    ) -> Process:  # fmt: skip
        """`ansible localhost -m MODULE` in the background. An option that is None is not given."""
        known = self.defaults if module == MODULE else {}
        if module.endswith("kaiwudb_local_volume"):
            other = ("security", "pre_stop_seconds", "env", "waive")
            known = {key: value for key, value in self.defaults.items() if key not in other}
        given = {"namespace": self.namespace, **known, "name": name, **options}
        arguments = json.dumps({key: value for key, value in given.items() if value is not None})
        ansible = str(Path(self._python()).parent / "ansible")
        argv = [ansible, "localhost", "-m", module, "-a", arguments, *(["--check", "--diff"] if check else [])]
        return Process(argv, self.environment(collections, **(environment or {})), self.home)

    def run(self, name: str, *, seconds: float = 300, **how: Any) -> Result:
        """One run to its end, with the requests that its account sent (audit log)."""
        mark = self.audit.mark()
        result = self.start(name, **how).wait(seconds)
        result.requests = list(self.audit.since(mark, user=self.user))
        return result

    def good(self, name: str, **how: Any) -> Result:
        """A run that must succeed."""
        result = self.run(name, **how)
        assert not result.failed, f"{result.msg}\n{result.output[-3000:]}"
        return result

    def refused(self, name: str, reason: str, **how: Any) -> Result:
        """A run that must fail with this reason."""
        result = self.run(name, **how)
        assert result.failed, f"should have been refused as {reason}, but: {result.msg}"
        assert result.data.get("reason") == reason, f"{result.data.get('reason')}: {result.msg}"
        return result

    def when_allowed(self, name: str, **how: Any) -> Result:
        """Check mode, until no gate refuses: a new node takes its replicas some ten seconds after it joined."""

        said = ""

        def tried() -> Result | None:
            nonlocal said
            result = self.run(name, check=True, **how)
            said = result.msg
            assert (
                not result.failed or result.data.get("gates") or result.data.get("reason", "").startswith("ranges_")
            ), result.msg
            return None if result.failed else result

        try:
            found: Result = until(f"{name}: no gate refuses", tried, 120, 1)
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {said}\n{self.told(name)}") from error
        return found

    def await_whole(self, name: str) -> None:
        """Every range has three replicas. A plan does not wait for that: gates that mend by themselves refuse no check mode."""

        def whole() -> bool:
            lists = self.sql(name, "SELECT replicas FROM kwdb_internal.ranges_no_leases").splitlines()[1:]
            return bool(lists) and all(len(re.findall(r"\d+", line)) >= 3 for line in lists)

        until(f"{name}: every range has three replicas", whole, 120, 1)

    def told(self, name: str) -> str:
        """What the engine says of its ranges, and the ends of its logs: for the message of whoever waited in vain."""
        here = ("--namespace", self.namespace)
        with suppress(AssertionError, subprocess.TimeoutExpired):
            ranges = self.sql(name, "SELECT range_id, replicas FROM kwdb_internal.ranges_no_leases")
            logs = [f"{pod}: {kubectl(*here, 'logs', pod, '--tail=15', check=False)}" for pod in self.pods(name)]
            return "\n".join([ranges, *logs])
        return "the engine does not answer"

    # ---- what is there

    def get(self, kind: str, name: str = "", *, selector: str = "") -> Any:
        """One object (None when it is not there), or the list of all."""
        words = [
            "--namespace",
            self.namespace,
            "get",
            kind,
            *([name] if name else []),
            "--ignore-not-found",
            "--output=json",
        ]
        text = kubectl(*words, *([f"--selector={selector}"] if selector else []))
        found = json.loads(text) if text.strip() else None
        return found if name else (found or {}).get("items", [])

    def pods(self, name: str) -> dict[str, Object]:
        """The database pods of a cluster, by name."""
        selector = f"app.kubernetes.io/instance={name},app.kubernetes.io/component=database"
        return {pod["metadata"]["name"]: pod for pod in self.get("pods", selector=selector)}

    def uids(self, name: str) -> dict[str, str]:
        return {pod: found["metadata"]["uid"] for pod, found in self.pods(name).items()}

    def journal(self, name: str) -> Object:
        found = self.get("configmap", f"{name}-journal")
        data: Object = json.loads(found["data"]["journal"]) if found else {}
        return data

    def volume(self, name: str, ordinal: int) -> Object | None:
        found: Object | None = self.get("persistentvolume", f"{self.namespace}.{name}-{ordinal}")
        return found

    def pinned_to(self, name: str, ordinal: int) -> str:
        """The Kubernetes node that the volume of an ordinal is tied to."""
        volume = self.volume(name, ordinal)
        assert volume is not None
        return node_of(volume)

    def exec(self, pod: str, *argv: str, check: bool = True) -> str:
        return kubectl("--namespace", self.namespace, "exec", pod, "--container=kaiwudb", "--", *argv, check=check)

    def sql(self, name: str, statement: str, ordinal: int = 0) -> str:
        return self.exec(
            f"{name}-{ordinal}",
            "timeout",
            "20",
            "/kaiwudb/bin/kwbase",
            "sql",
            "--insecure",
            "--format=csv",
            f"--execute={statement}",
        )

    def node_rows(self, name: str) -> list[dict[str, str]]:
        """`node status --decommission`, by column."""
        text = self.exec(
            f"{name}-0",
            "timeout",
            "20",
            "/kaiwudb/bin/kwbase",
            "node",
            "status",
            "--decommission",
            "--insecure",
            "--format=csv",
            check=False,
        )
        lines = [line.split(",") for line in text.splitlines() if line]
        return [dict(zip(lines[0], line, strict=False)) for line in lines[1:]] if lines else []

    def row_of(self, name: str, ordinal: int) -> dict[str, str] | None:
        """The newest row with the pod's address."""
        rows = [row for row in self.node_rows(name) if row["address"].startswith(f"{name}-{ordinal}.")]
        return max(rows, key=lambda row: int(row["id"]), default=None)

    def free_lock(self, name: str) -> None:
        """Forget the lock of a run that was killed: waiting for its takeover (20 s) is a test of its own."""
        kubectl(
            "--namespace",
            self.namespace,
            "patch",
            "lease",
            f"{name}-lock",
            "--type=merge",
            '--patch={"spec": {"holderIdentity": ""}}',
        )

    def ready_count(self, name: str) -> int:
        """How many pods are Ready."""
        conditions = [item for pod in self.pods(name).values() for item in pod["status"].get("conditions", ())]
        return sum(item["type"] == "Ready" and item["status"] == "True" for item in conditions)

    def ready(self, name: str, count: int) -> bool:
        """Whether exactly so many pods are Ready."""
        return self.ready_count(name) == count

    # ---- the end

    def clean(self) -> None:
        """Everything of this place, without the collection: a test must clean up after a broken one too.

        Pods first and with a short grace: those of a cluster that ends as a whole have no quorum to drain to.
        """
        here = ("--namespace", self.namespace)
        kubectl(*here, "delete", "statefulsets", "--all", "--cascade=orphan", check=False)
        kubectl(*here, "delete", "pods", "--all", "--grace-period=1", "--wait=false", check=False)
        kubectl("delete", "namespace", self.namespace, "--timeout=60s", check=False, seconds=90)
        kubectl(
            "delete",
            "persistentvolumes",
            f"--selector=kaiwudb.kubernetes/namespace={self.namespace}",
            "--wait=false",
            check=False,
        )
        for account in self.home.glob(f"{self.namespace}-*.kubeconfig"):
            kubectl("delete", "clusterrole,clusterrolebinding", account.stem, check=False)
        for node in worker_nodes():
            on_node(node, "rm", "-rf", self.local_path, check=False)
            on_node(node, "rmdir", str(Path(self.local_path).parent), check=False)  # when no other run's is left in it


def worker_nodes() -> list[str]:
    """Names of the workers, which are the names of kind's containers."""
    listed = json.loads(kubectl("get", "nodes", "--output=json"))["items"]
    return [
        node["metadata"]["name"]
        for node in listed
        if "node-role.kubernetes.io/control-plane" not in node["metadata"]["labels"]
    ]


def on_node(node: str, *argv: str, check: bool = True) -> str:
    """A command on a kind node, through Docker."""
    if not shutil.which("docker"):
        return ""
    done = subprocess.run(["docker", "exec", node, *argv], capture_output=True, text=True, timeout=30, check=False)
    assert not check or done.returncode == 0, f"{node}: {' '.join(argv)}: {done.stderr}"
    return done.stdout


def start_worker(node: str) -> None:
    """A kind node that was stopped is Ready again, and its pods reach the others'."""
    script = REPO / "tests" / "lab" / "kind" / "start-worker"
    done = subprocess.run([script, node], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


def default_class() -> Object | None:
    """The storage class that a claim without one gets."""
    default = "storageclass.kubernetes.io/is-default-class"
    classes = json.loads(kubectl("get", "storageclasses", "--output=json"))["items"]
    return next((item for item in classes if (item["metadata"].get("annotations") or {}).get(default) == "true"), None)


def store_of(obj: Object) -> Object:
    """Whose store a claim or volume says it holds; empty when it says nothing."""
    noted: Object = json.loads(obj["metadata"].get("annotations", {}).get(FINGERPRINT, "{}"))
    return noted


def node_of(volume: Object) -> str:
    """The Kubernetes node a volume is pinned to."""
    rule = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    name: str = rule["values"][0]
    return name
