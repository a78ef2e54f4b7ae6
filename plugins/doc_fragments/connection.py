# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the connection options; the argument spec is module_utils/_kube/auth.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig file, or its content as a dictionary.
      - If this and O(host) are unset, the files named by E(KUBECONFIG) or C(~/.kube/config) are used.
      - E(K8S_AUTH_KUBECONFIG) is used if this is unset.
    type: raw
  context:
    description:
      - Name of the context in the kubeconfig. Its current context is used if this is unset.
      - E(K8S_AUTH_CONTEXT) is used if this is unset.
    type: str
  host:
    description:
      - URL of the API server. If a kubeconfig was also named, this replaces its server.
      - E(K8S_AUTH_HOST) is used if this is unset.
    type: str
  api_key:
    description:
      - Bearer token.
      - E(K8S_AUTH_API_KEY) is used if this is unset.
    type: str
  ca_cert:
    description:
      - Path of the certificate authority that signed the API server's certificate.
      - E(K8S_AUTH_SSL_CA_CERT) is used if this is unset.
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description:
      - Path of a client certificate.
      - E(K8S_AUTH_CERT_FILE) is used if this is unset.
    type: path
    aliases: [cert_file]
  client_key:
    description:
      - Path of the key of O(client_cert).
      - E(K8S_AUTH_KEY_FILE) is used if this is unset.
    type: path
    aliases: [key_file]
  validate_certs:
    description:
      - Whether the API server's certificate must be valid. If this is unset, the kubeconfig decides, otherwise yes.
      - E(K8S_AUTH_VERIFY_SSL) is used if this is unset.
    type: bool
    aliases: [verify_ssl]
  proxy:
    description:
      - URL of an HTTP or SOCKS proxy to the API server.
      - E(K8S_AUTH_PROXY) is used if this is unset.
    type: str
  in_cluster:
    description:
      - Use the service account of the pod in which Ansible runs. It is never used unless this is V(true), so that a
        job in AWX cannot reach the wrong cluster by falling back to it.
    type: bool
    default: false
  expect_server:
    description:
      - URL of the only API server that this task may talk to. If the connection leads to another one, the task fails
        before any request.
    type: str
requirements:
  - python >= 3.10
  - kubernetes >= 28.1, != 36.0.0
"""
