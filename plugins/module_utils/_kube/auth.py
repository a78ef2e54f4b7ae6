# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The connection options of every module: one argument spec, documented by the doc fragment ``connection``.

Names and K8S_AUTH_* variables are those of kubernetes.core, so that an existing inventory or AWX credential just works.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback

AUTH_ARGS: dict[str, dict[str, Any]] = {
    # no_log keeps a kubeconfig given as a dictionary out of the system log; connection_of() narrows what is hidden.
    "kubeconfig": {"type": "raw", "no_log": True, "fallback": (env_fallback, ["K8S_AUTH_KUBECONFIG"])},
    "context": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_CONTEXT"])},
    "host": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_HOST"])},
    "api_key": {"type": "str", "no_log": True, "fallback": (env_fallback, ["K8S_AUTH_API_KEY"])},
    "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"], "fallback": (env_fallback, ["K8S_AUTH_SSL_CA_CERT"])},
    "client_cert": {"type": "path", "aliases": ["cert_file"], "fallback": (env_fallback, ["K8S_AUTH_CERT_FILE"])},
    "client_key": {
        "type": "path",
        "aliases": ["key_file"],
        "no_log": False,
        "fallback": (env_fallback, ["K8S_AUTH_KEY_FILE"]),
    },
    "validate_certs": {
        "type": "bool",
        "aliases": ["verify_ssl"],
        "fallback": (env_fallback, ["K8S_AUTH_VERIFY_SSL"]),
    },
    "proxy": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_PROXY"])},
    "in_cluster": {"type": "bool", "default": False},
    "expect_server": {"type": "str"},
}

_SECRET_KEYS = frozenset(
    {
        "token",
        "password",
        "client-key-data",
        "id-token",
        "access-token",
        "refresh-token",
        "client-secret",
        "value",  # users[].user.exec.env[].value
    }
)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif value is not None:
        yield str(value)


def secrets_of(kubeconfig: Any) -> set[str]:
    """The secret values inside a kubeconfig given as a dictionary; empty for a path."""
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key in _SECRET_KEYS and isinstance(item, (str, int)) and item != "":
                    found.add(str(item))
                else:
                    walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(kubeconfig)
    return found


def connection_of(module: AnsibleModule) -> dict[str, Any]:
    """The connection options of a module, for ``Client``.

    Of a kubeconfig only the secrets stay hidden: hiding all of its words would censor names like ``default`` or ``v1``
    everywhere in the result.
    """
    kubeconfig = module.params.get("kubeconfig")
    if kubeconfig:
        secrets = secrets_of(kubeconfig)
        module.no_log_values.difference_update(set(_strings(kubeconfig)) - secrets)
        module.no_log_values.update(secrets)
    return {key: module.params.get(key) for key in AUTH_ARGS}
