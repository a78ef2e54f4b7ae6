# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What the Kubernetes edge gives and raises. Pure: imports neither kubernetes nor Ansible."""

from __future__ import annotations

from dataclasses import dataclass

from .resources import KINDS

# Reasons that this collection adds to those of the API server (NotFound, Conflict, Forbidden, Invalid, Expired, ...).
CONNECTION = "ConnectionFailed"  # no answer: refused, reset, name unknown, or cut while an answer was expected
TIMEOUT = "Timeout"  # the API server did not answer in time
TLS = "TlsFailed"  # certificate not trusted, wrong name, client certificate refused
CONFIG = "ConfigInvalid"  # kubeconfig, context or files of the connection cannot be used; no request was sent
LIBRARY = "LibraryMissing"  # the Python library kubernetes is missing or too old
WRONG_SERVER = "WrongServer"  # not the server that expect_server asks for; no request was sent
EXEC_FAILED = "ExecFailed"  # the container runtime could not start the command
EXEC_CUT = "ExecCut"  # the stream ended without an exit code
EXEC_TIMEOUT = "ExecTimeout"  # no exit code in time; the command may still run in the container
STDIN_UNSUPPORTED = "StdinUnsupported"  # the API server's exec protocol (v4) cannot end an input


@dataclass(frozen=True)
class ExecResult:
    """What a command in a container left behind; both texts are decoded as UTF-8 with replacement."""

    rc: int
    stdout: str
    stderr: str


class KubeError(Exception):
    """A request to the API server that failed, as data. No field ever holds a credential or a Secret's data.

    status: HTTP status, 0 when no answer came. reason: the API server's (``NotFound``, ``Conflict``, ...) or one of
    the constants of this file. message: what the server or the library said. unsent: the request certainly never
    reached the server, so it may be sent again whatever it does.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        verb: str = "",
        kind: str = "",
        name: str | None = None,
        namespace: str | None = None,
        *,
        unsent: bool = False,
    ) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        self.verb = verb
        self.kind = kind
        self.name = name
        self.namespace = namespace
        self.unsent = unsent
        super().__init__(str(self))

    @property
    def unasked(self) -> bool:
        """True when the connection itself cannot be used, so that nothing was ever sent."""
        return self.reason in (CONFIG, LIBRARY, WRONG_SERVER)

    @property
    def unanswered(self) -> bool:
        """True when it is unknown whether the server saw the request: observe again before writing again."""
        return not self.unsent and self.status == 0 and self.reason in (CONNECTION, TIMEOUT, EXEC_CUT, EXEC_TIMEOUT)

    def __str__(self) -> str:
        target = " ".join(x for x in (self.kind, self.name or "") if x)
        where = f" in namespace {self.namespace}" if self.namespace else ""
        if "system:anonymous" in self.message:
            return (
                f"no credentials were sent, so the API server does not allow to {self.verb} {target}{where} "
                f"(HTTP {self.status}). Does the kubeconfig's user have a token or certificate, and if it names a "
                f"program (exec), does that program work here? Server: {self.message}"
            )
        if self.status == 403:
            # The person who reads this writes a Role: verb, resource and namespace are what they need.
            entry = KINDS.get(self.kind)
            resource = f"{entry.plural}.{entry.group}".rstrip(".") if entry else self.kind
            named = f" {self.name}" if self.name else ""
            return (
                f"not allowed to {self.verb} {resource}{named}{where} (HTTP 403): a Role needs verb '{self.verb}' on "
                f"resource '{resource}'{where or ', cluster-wide'}. Server: {self.message}"
            )
        if self.status == 401:
            return f"the API server does not accept the credentials (HTTP 401): {self.verb} {target}{where}"
        if not self.verb:
            return self.message
        status = f"HTTP {self.status}, " if self.status else ""
        return f"{self.verb} {target}{where}: {self.message} ({status}{self.reason})"
