# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""HTTP answers of the API server as data: failures, events in a stream, selectors. Opens no connection itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from . import errors
from .errors import KubeError

Object = dict[str, Any]
READ_TIMEOUT = 30.0  # seconds without a byte of an answer


def silence_unverified() -> None:
    """Someone chose not to verify: saying so on stderr at every request is only noise in a task's output."""
    import urllib3

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


def event_time(event: Object) -> str:
    """When an Event was last seen: RFC 3339, "" when it says nothing."""
    series = (event.get("series") or {}).get("lastObservedTime")
    return str(series or event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")


def selectors(labels: Mapping[str, str] | str | None, fields: Mapping[str, str] | str | None) -> dict[str, Any]:
    def text(selector: Mapping[str, str] | str) -> str:
        return selector if isinstance(selector, str) else ",".join(f"{k}={v}" for k, v in selector.items())

    query = {}
    if labels:
        query["labelSelector"] = text(labels)
    if fields:
        query["fieldSelector"] = text(fields)
    return query


def lines(response: Any, deadline: float) -> Iterator[bytes]:
    """Lines of a chunked answer until it ends, is cut, or the deadline passes."""
    import urllib3

    rest = b""
    sock = getattr(getattr(response, "connection", None) or getattr(response, "_connection", None), "sock", None)
    chunks = response.stream(None, decode_content=False)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        if sock is not None:
            sock.settimeout(left)
        try:
            chunk = next(chunks)
        except (StopIteration, urllib3.exceptions.HTTPError, OSError):
            return
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())


def status_error(status: Object, code: int, verb: str, kind: str, name: str | None, namespace: str | None) -> KubeError:
    return KubeError(
        int(status.get("code") or code),
        str(status.get("reason") or "Unknown"),
        str(status.get("message") or "no message"),
        verb,
        kind,
        name,
        namespace,
    )


def response_error(response: Any, verb: str, kind: str, name: str | None, namespace: str | None) -> KubeError:
    data = bytes(response.data or b"")
    try:
        status = json.loads(data)
    except ValueError:
        status = {}
    if not isinstance(status, dict) or status.get("kind") != "Status":
        text = data[:200].decode("utf-8", "replace").strip()
        status = {"reason": response.reason or "Unknown", "message": text or f"HTTP {response.status}"}
    return status_error(status, response.status, verb, kind, name, namespace)


def repeatable(failure: KubeError) -> bool:
    """A 500 or 504 whose text is the answer itself (a webhook said no, an invalid object) is not worth a repetition; nor is the
    429 by which a budget refuses an eviction, which is for the caller to wait for."""
    if failure.status == 429:
        return "disruption budget" not in failure.message
    return failure.status != 500 or "webhook" not in failure.message


def retry_after(response: Any) -> float:
    try:
        return min(float(response.headers.get("Retry-After", "0")), 10.0)
    except ValueError:
        return 0.0


def transport_error(
    error: Exception, server: str, verb: str, kind: str, name: str | None, namespace: str | None
) -> KubeError:
    import urllib3

    ex = urllib3.exceptions
    cause: BaseException = error
    if isinstance(error, ex.MaxRetryError) and error.reason is not None:
        cause = error.reason
    unsent = isinstance(cause, (ex.NewConnectionError, ex.ConnectTimeoutError, ex.ProxyError))
    if isinstance(cause, ex.SSLError):
        reason, text = errors.TLS, f"TLS to {server} failed: {cause}"
    elif isinstance(cause, ex.TimeoutError) and not unsent:
        reason, text = errors.TIMEOUT, f"{server} did not answer within {READ_TIMEOUT:.0f} s"
    else:
        reason, text = errors.CONNECTION, f"{server} cannot be reached: {_plain(cause)}"
    return KubeError(0, reason, text, verb, kind, name, namespace, unsent=unsent)


def _plain(cause: BaseException) -> str:
    """The innermost sentence of urllib3's nested errors, without object addresses."""
    return str(cause).rsplit("object at 0x", 1)[-1].partition(">: ")[2] or str(cause)
