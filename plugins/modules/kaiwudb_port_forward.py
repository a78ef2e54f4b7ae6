#!/usr/bin/python
# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: kaiwudb_port_forward
short_description: Keep a port of a KaiwuDB cluster open on this machine for a stated time
version_added: 1.0.0
author:
  - kaiwudb.kubernetes contributors (@kaiwudb)
description:
  - Listens on an address of the machine that runs the task, forwards each connection through the API server to a
    ready pod of the cluster, and ends after the stated time. No route to the pods, no NodePort and no kubectl is needed.
  - The task occupies its host for that time; use C(async) and C(poll=0) to work beside it.
options:
  port:
    description:
      - The pod's port, by name.
      - V(http) is the Admin UI of engine V(bini), and C(/health) and C(/_status) of the others.
      - V(sql) gives SQL to everyone who reaches O(address); on an insecure cluster that is everyone as root.
    type: str
    choices: [http, sql]
    default: http
  address:
    description:
      - Address to listen on. V(0.0.0.0) opens the port to the network.
    type: str
    default: 127.0.0.1
  local_port:
    description:
      - Port to listen on; V(0) takes a free one.
    type: int
    default: 8080
  seconds:
    description:
      - How long the port stays open.
    type: int
    default: 60
extends_documentation_fragment:
  - kaiwudb.kubernetes.connection
  - kaiwudb.kubernetes.run.named
  - kaiwudb.kubernetes.attributes
  - kaiwudb.kubernetes.attributes.actiongroup_kaiwudb
attributes:
  check_mode:
    support: full
    details:
      - Finds the pod and opens nothing.
  diff_mode:
    support: N/A
    details:
      - Nothing is changed.
  idempotent:
    support: N/A
    details:
      - Nothing is changed.
"""

EXAMPLES = r"""
- name: The HTTP port for five minutes
  kaiwudb.kubernetes.kaiwudb_port_forward:
    name: orders
    namespace: orders
    seconds: 300
"""

RETURN = r"""
msg:
  description: One line about what was open.
  returned: always
  type: str
  sample: http://127.0.0.1:8080 led to orders-0 for 300 s
address:
  description: The address that was listened on, with its port.
  returned: success and not in check mode
  type: str
  sample: 127.0.0.1:8080
pod:
  description: The pod behind it.
  returned: success
  type: str
  sample: orders-0
server:
  description: URL of the API server that was used.
  returned: success
  type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import CONTAINER, Names
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.auth import AUTH_ARGS, connection_of
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.client import Client
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "port": {"type": "str", "choices": ["http", "sql"], "default": "http"},
    "address": {"type": "str", "default": "127.0.0.1"},
    "local_port": {"type": "int", "default": 8080},
    "seconds": {"type": "int", "default": 60},
}


def target(pods: list[dict], port: str) -> tuple[str, int] | None:
    """Name and port number of the first pod that is Ready, or runs if none is; None without a running pod."""

    def ready(pod: dict) -> bool:
        conditions = pod.get("status", {}).get("conditions") or []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    running = [
        p for p in pods if p.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in p["metadata"]
    ]
    for pod in sorted(running, key=lambda p: (not ready(p), p["metadata"]["name"])):
        for container in pod["spec"]["containers"]:
            for entry in container.get("ports") or []:
                if container["name"] == CONTAINER and entry.get("name") == port:
                    return pod["metadata"]["name"], entry["containerPort"]
    return None


def main() -> None:
    module = AnsibleModule(argument_spec=AUTH_ARGS | ARGUMENTS, supports_check_mode=True)
    wanted = module.params
    try:
        client = Client(connection_of(module))
        names = Names(wanted["name"], wanted["namespace"])
        pods, _version = client.list("Pod", names.namespace, labels=names.pod_selector)
        found = target(pods, wanted["port"])
        if found is None:
            module.fail_json(
                msg=f"no running pod of {names.name} in namespace {names.namespace} has a port called {wanted['port']}",
                reason="no_pod",
            )
        pod, number = found
        if module.check_mode:
            module.exit_json(changed=False, pod=pod, server=client.server, msg=f"would forward to {pod}:{number}")
        with client.port_forward(names.namespace, pod, number, bind=(wanted["address"], wanted["local_port"])) as here:
            time.sleep(wanted["seconds"])  # the port is what is asked for; there is nothing to wait for
        shown = f"{here[0]}:{here[1]}"
        scheme = "http://" if wanted["port"] == "http" else ""
        module.exit_json(
            changed=False, pod=pod, server=client.server, address=shown,
            msg=f"{scheme}{shown} led to {pod} for {wanted['seconds']} s",
        )  # fmt: skip
    except KubeError as error:
        module.fail_json(msg=str(error), reason=error.reason)
    except OSError as error:
        module.fail_json(msg=f"cannot listen on {wanted['address']}:{wanted['local_port']}: {error}", reason="address")


if __name__ == "__main__":
    main()
