# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What the engine's command line can say went wrong, as stable reasons. Pure: imports neither kubernetes nor Ansible.

The texts are the engine's own (engine source kwbase/pkg/cli/error.go and the recorded runs under tests); they are
matched as substrings, because ``init`` and ``start`` print the same error three times in different dress.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What C(start) says of a store that another process holds: for some seconds that may be the one before (engine transcripts, 12).
STORE_IN_USE = "IO error: lock: Resource temporarily unavailable"

# reason -> substrings, first match wins. Order matters: "cannot dial" wraps other causes.
_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("waiting_for_init", ("node waiting for init", "before it has been initialized")),
    ("mpp", ("cannot be decommissioned in mpp mode",)),
    ("upgrading", ("when cluster has node UPGRADING", "can not upgrade nodes when cluster has node")),
    ("unknown_node", ("node not in the liveness table", "doesn't exist", "could not parse node_id", "unable to parse")),
    ("draining", ("server is shutting down", "server is not accepting clients", "node is shutting down")),
    ("drain_timeout", ("drain timeout",)),
    ("quorum", ("cluster has node unreachable",)),
    ("security", ("SSL authentication error", "cannot establish secure connection to insecure server")),
    ("certificates", ("cannot load certificates", "problem with client cert", "problem with CA certificate")),
    ("forbidden", ("is not allowed to perform this RPC",)),
    (
        "login",
        (
            "password authentication failed",
            "does not have login privilege",
            "authentication rejected by configuration",
            "no server.host_based_authentication.configuration entry",
        ),
    ),
    (
        "unreachable",
        (
            "cannot dial server",
            "Failed to connect to the node",
            "initial connection heartbeat failed",
            "connection refused",
            "server closed the connection",
        ),
    ),
    ("timeout", ("operation timed out", "statement timeout", "context deadline exceeded")),
    ("usage", ("unknown flag", "unknown command", "requires at least", "invalid argument")),
    (
        "binary_missing",
        ("No such file or directory", "executable file not found", "can't execute", "failed to run command"),
    ),
)
# Another node may know or serve what this one does not: worth asking the next pod.
ELSEWHERE = frozenset({"unreachable", "timeout", "draining", "waiting_for_init", "pod_gone", "cut"})


class EngineError(Exception):
    """A call of the engine that failed, as data; never holds a password.

    reason: waiting_for_init, mpp, upgrading, unknown_node, draining, drain_timeout, quorum, security, certificates,
    forbidden, login, unreachable, timeout, usage, binary_missing, sql (with sqlstate), pod_gone, cut, no_pod, refused,
    output (an answer that cannot be read). text: the engine's sentence. command: subcommand without its arguments.
    """

    def __init__(
        self,
        reason: str,
        text: str,
        pod: str = "",
        command: str = "",
        sqlstate: str | None = None,
        detail: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.reason = reason
        self.text = text
        self.pod = pod
        self.command = command
        self.sqlstate = sqlstate
        self.detail = detail
        self.hint = hint
        state = f" (SQLSTATE {sqlstate})" if sqlstate else ""
        at = f" at {pod}" if pod else ""
        super().__init__(f"{command or 'engine'}{at}: {text}{state} [{reason}]")


@dataclass(frozen=True)
class Fault:
    """A failed call, read: see EngineError for the reasons."""

    reason: str
    text: str
    sqlstate: str | None = None
    detail: str | None = None
    hint: str | None = None


def killed(rc: int) -> bool:
    """Whether ``timeout -s KILL`` (124 of older busybox, 137 of coreutils and busybox) ended the command."""
    return rc in (124, 137)


def classify(rc: int, stdout: str, stderr: str) -> Fault | None:
    """None for a success; otherwise why it failed. A call that was killed is a timeout, whatever it printed before."""
    if rc == 0:
        return None
    text = f"{stderr}\n{stdout}"
    sentence = _sentence(text)
    sqlstate = _field(text, "SQLSTATE")
    if killed(rc):
        warning = "; it said: " + sentence if sentence else ""
        return Fault("timeout", f"no answer in time, the call was ended{warning}")
    for reason, needles in _TEXTS:
        if any(needle in text for needle in needles):
            # 57014 and friends are both a known text and an SQL error: keep the state beside the reason.
            return Fault(reason, sentence or _last(text), sqlstate, _field(text, "DETAIL"), _field(text, "HINT"))
    reason = "sql" if sqlstate or 'Failed running "sql"' in text else "refused"
    return Fault(reason, sentence or _last(text), sqlstate, _field(text, "DETAIL"), _field(text, "HINT"))


def _sentence(text: str) -> str:
    """The engine's own error: the line that starts with ERROR:, and the cause that may follow after a blank line."""
    match = re.search(r"^ERROR: (.*)$", text, re.MULTILINE)
    if match:
        cause = re.search(r"^ERROR: cannot dial server\.\n(?:.+\n)*\n(.+)$", text, re.MULTILINE)
        return f"{match[1].strip()} {cause[1].strip()}" if cause else match[1].strip()
    warnings = re.findall(r"^warning: (.*)$", text, re.MULTILINE)
    return warnings[-1].strip() if warnings else ""


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Failed running")]
    return lines[-1] if lines else "no output"


def _field(text: str, name: str) -> str | None:
    match = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
    return match[1].strip() if match else None
