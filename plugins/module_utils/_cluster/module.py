# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What the cluster modules share with Ansible: arguments in, one result or one failure out. PRIVATE to the collection."""

from __future__ import annotations

import getpass
import os
import socket
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._engine.errors import EngineError
from .._kube.auth import AUTH_ARGS, connection_of
from .._kube.client import Client
from .._kube.errors import KubeError
from . import options, status
from .errors import ClusterError, failure
from .maintain_run import MaintainRun, window_of
from .node_run import NodeRun
from .operations.remove import refuse_unconfirmed
from .replace_run import ReplaceRun
from .run import Run
from .spec import parse_asked, truth

# Set by the action plugin, which cuts long work into slices.
SLICE_ARGS: dict[str, t.Any] = {"run_id": {"type": "str"}, "slice": {"type": "float"}, "carry": {"type": "dict"}}


def build(spec: t.Mapping[str, t.Any], **kwargs: t.Any) -> AnsibleModule:
    """An AnsibleModule with the connection options added."""
    return AnsibleModule(argument_spec={**AUTH_ARGS, **spec}, supports_check_mode=True, **kwargs)


def who() -> str:
    """Who runs this, for the lock and the journal: an AWX job, or a user on a machine."""
    job = os.environ.get("AWX_JOB_ID") or os.environ.get("JOB_ID")
    host = socket.gethostname()
    if job:
        return f"awx-job-{job} on {host}"
    try:
        return f"{getpass.getuser()} on {host}"
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()} on {host}"


def finish(module: AnsibleModule, work: t.Callable[[], dict[str, t.Any]]) -> t.NoReturn:
    """Exit with the result of C(work), or fail with the error's fields; every failure has msg and reason."""
    try:
        result = work()
    except ClusterError as error:
        module.fail_json(**error.result())
    except (EngineError, KubeError) as error:
        module.fail_json(**failure(error).result())
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)
    raise AssertionError("exit_json ends the process")


def cluster_main(names: t.Sequence[str] = (), *, volumes_only: bool = False) -> t.NoReturn:
    """C(kaiwudb_cluster), and C(kaiwudb_local_volume) as its part that plans volumes only. names: options, all when none."""
    module = build(
        {
            **options.argument_spec(*names),
            **SLICE_ARGS,
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
        }
    )
    state = module.params["state"]

    def work() -> dict[str, t.Any]:
        asked = parse_asked(module.params)
        if state == "absent":
            refuse_unconfirmed(asked)
        run = Run(*_target(module, asked), state=state, volumes_only=volumes_only, **_slice(module, asked))
        return run.go()

    finish(module, work)


def info_main(spec: t.Mapping[str, t.Any]) -> t.NoReturn:
    """C(kaiwudb_cluster_info)."""
    module = build(spec)

    def work() -> dict[str, t.Any]:
        client = Client(connection_of(module))
        return {
            "changed": False,
            **status.info(client, parse_asked(module.params), who()),
            "server": client.server,
            "context": client.context,
            "requests": dict(client.counts),
        }

    finish(module, work)


def decommission_main() -> t.NoReturn:
    """C(kaiwudb_node_decommission)."""
    module = build(
        {
            **options.argument_spec(
                "name", "namespace", "waive", "max_runtime", "wait_timeout", "stall_timeout", "on_failure"
            ),
            **SLICE_ARGS,
            "node": {"type": "str", "required": True},
            "state": {"type": "str", "default": "decommissioned", "choices": ["decommissioned", "active"]},
        }
    )

    def work() -> dict[str, t.Any]:
        asked = parse_asked(module.params)
        node, state = module.params["node"].strip(), module.params["state"]
        return NodeRun(*_target(module, asked), node=node, state=state, **_slice(module, asked)).go()

    finish(module, work)


def replace_main() -> t.NoReturn:
    """C(kaiwudb_node_replace)."""
    module = build(
        {
            **options.argument_spec(
                "name", "namespace", "volumes", "waive", "max_runtime", "wait_timeout", "stall_timeout"
            ),
            **SLICE_ARGS,
            "node": {"type": "str", "required": True},
            "kubernetes_node": {"type": "str"},
            "lost": {"type": "str"},
        }
    )

    def work() -> dict[str, t.Any]:
        asked = parse_asked(module.params)
        return ReplaceRun(
            *_target(module, asked),
            node=module.params["node"].strip(),
            kubernetes_node=(module.params["kubernetes_node"] or "").strip(),
            lost=truth("lost", module.params["lost"]),
            **_slice(module, asked),
        ).go()

    finish(module, work)


def maintenance_main() -> t.NoReturn:
    """C(kaiwudb_node_maintenance)."""
    module = build(
        {
            **options.argument_spec("name", "namespace", "waive", "max_runtime", "wait_timeout"),
            **SLICE_ARGS,
            "kubernetes_node": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["drained", "ready"]},
            "window": {"type": "str"},
        }
    )

    def work() -> dict[str, t.Any]:
        asked = parse_asked(module.params)
        return MaintainRun(
            *_target(module, asked),
            kubernetes_node=module.params["kubernetes_node"].strip(),
            state=module.params["state"],
            window=window_of(module.params["window"]),
            **_slice(module, asked),
        ).go()

    finish(module, work)


def _target(module: AnsibleModule, asked: t.Mapping[str, t.Any]) -> tuple[Client, t.Mapping[str, t.Any]]:
    return Client(connection_of(module)), asked


def _slice(module: AnsibleModule, asked: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """How a Run that may be called again and again is to work this time."""
    limits = [float(value) for value in (module.params["slice"], asked.get("max_runtime")) if value]
    return {
        "check": module.check_mode,
        "who": who(),
        "run_id": module.params["run_id"] or f"{os.getpid()}-{time.time():.0f}",
        "seconds": min(limits) if limits else None,
        "sliced": bool(module.params["slice"]),
        "carry": module.params["carry"],
    }
