# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""From connection options to a configuration of the kubernetes library; sends no request.

Order: explicit option, then its K8S_AUTH_* variable (both arrive here as options, see ``auth.AUTH_ARGS``), then the
default kubeconfig. The in-cluster service account is used only when asked for: falling back to it is how a job in AWX
reaches the wrong cluster.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import errors
from .errors import KubeError

INSTALL_HINT = "install it for the Python that runs this module: pip install 'kubernetes>=28.1,!=36.0.0'"
# 36.0.0 sends no Authorization header at all (its changelog, 36.0.1).
_BROKEN = {(36, 0, 0)}
_OLDEST = (28, 1)


class Settings(NamedTuple):
    """configuration: ``kubernetes.client.Configuration``; context: the kubeconfig's context, if one was used."""

    configuration: Any
    context: str | None


def _fail(message: str, reason: str = errors.CONFIG) -> KubeError:
    return KubeError(0, reason, message)


def import_kubernetes() -> Any:
    """The library, imported late: it costs half a CPU second that a refused argument must not pay."""
    import sys

    try:
        import kubernetes
    except ImportError as error:
        raise _fail(
            f"the Python library kubernetes is missing in {sys.executable} ({error.name or error}); {INSTALL_HINT}",
            errors.LIBRARY,
        ) from error
    numbers = tuple(int(x) for x in re.findall(r"\d+", kubernetes.__version__)[:3])
    if numbers in _BROKEN or numbers < _OLDEST:
        raise _fail(
            f"the Python library kubernetes {kubernetes.__version__} in {sys.executable} cannot serve; {INSTALL_HINT}",
            errors.LIBRARY,
        )
    return kubernetes


def normal_url(url: str) -> str:
    """A server's URL for comparison: lower case, without a trailing slash and without the default port."""
    text = url.strip().rstrip("/").lower()
    if "://" not in text:
        text = f"https://{text}"
    return re.sub(r"^(https://[^/]*):443$", r"\1", re.sub(r"^(http://[^/]*):80$", r"\1", text))


def _check_file(option: str, path: str) -> str:
    expanded = os.path.expanduser(os.path.expandvars(path))
    if not os.path.isfile(expanded):
        raise _fail(f"{option}: there is no file {expanded}")
    return expanded


def build(connection: Mapping[str, Any]) -> Settings:
    """Raises KubeError with reason ConfigInvalid, LibraryMissing or WrongServer."""
    kubernetes = import_kubernetes()
    config = kubernetes.config
    configuration = kubernetes.client.Configuration()
    context: str | None = None
    kubeconfig, host = connection.get("kubeconfig"), connection.get("host")
    try:
        if connection.get("in_cluster"):
            if kubeconfig or host or connection.get("context"):
                raise _fail("in_cluster: true excludes kubeconfig, context and host")
            config.load_incluster_config(client_configuration=configuration)
        elif isinstance(kubeconfig, Mapping):
            context = connection.get("context") or kubeconfig.get("current-context")
            config.load_kube_config_from_dict(
                dict(kubeconfig), context=context, client_configuration=configuration, persist_config=False
            )
        elif kubeconfig or connection.get("context") or not host:
            # The library reads KUBECONFIG when it is imported; by then it is what the task's environment says.
            path = _kubeconfig_path(kubeconfig)
            context = connection.get("context") or _current_context(config, path)
            config.load_kube_config(
                config_file=path, context=context, client_configuration=configuration, persist_config=False
            )
    except KubeError:
        raise
    except config.ConfigException as error:
        source = "the given kubeconfig" if isinstance(kubeconfig, Mapping) else (kubeconfig or "the default kubeconfig")
        if connection.get("in_cluster"):
            source = "the pod's service account (in_cluster)"
        raise _fail(f"{source} cannot be used: {error}") from error
    except Exception as error:  # yaml errors, wrong types: the library lets them through as they are
        # Their text may quote the file, and with it a token.
        raise _fail(f"the kubeconfig cannot be read ({type(error).__name__}): not a valid kubeconfig") from None
    _override(configuration, connection)
    expected = connection.get("expect_server")
    if expected and normal_url(expected) != normal_url(configuration.host):
        raise _fail(
            f"the connection leads to {configuration.host}"
            f"{f' (context {context})' if context else ''}, but expect_server allows only {expected}",
            errors.WRONG_SERVER,
        )
    return Settings(configuration, context)


def _kubeconfig_path(kubeconfig: Any) -> str:
    if not kubeconfig:
        from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION

        default = os.environ.get("KUBECONFIG") or KUBE_CONFIG_DEFAULT_LOCATION
        paths = [os.path.expanduser(x) for x in default.split(os.pathsep) if x]
        if not any(os.path.isfile(x) for x in paths):
            raise _fail(
                f"no kubeconfig: neither kubeconfig nor host is given, and {default} does not exist. "
                "Give kubeconfig (or K8S_AUTH_KUBECONFIG), or in_cluster: true inside a pod"
            )
        return os.pathsep.join(paths)
    if not isinstance(kubeconfig, str):
        raise _fail("kubeconfig: neither a path nor a dictionary")
    return _check_file("kubeconfig", kubeconfig)


def _current_context(config: Any, path: str) -> str | None:
    active = config.list_kube_config_contexts(config_file=path)[1]
    return str(active["name"]) if active else None


def _override(configuration: Any, connection: Mapping[str, Any]) -> None:
    if connection.get("host"):
        host = str(connection["host"]).rstrip("/")
        configuration.host = host if "://" in host else f"https://{host}"
    if connection.get("api_key"):
        # Both names: releases up to 35 read "authorization", later ones "BearerToken".
        configuration.api_key = {
            "authorization": f"Bearer {connection['api_key']}",
            "BearerToken": f"Bearer {connection['api_key']}",
        }
        configuration.refresh_api_key_hook = None
    for option, attribute in (("ca_cert", "ssl_ca_cert"), ("client_cert", "cert_file"), ("client_key", "key_file")):
        if connection.get(option):
            setattr(configuration, attribute, _check_file(option, str(connection[option])))
    if connection.get("validate_certs") is not None:
        configuration.verify_ssl = bool(connection["validate_certs"])
    if connection.get("proxy"):
        configuration.proxy = connection["proxy"]
