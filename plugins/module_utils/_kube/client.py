# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""The one place that talks to the Kubernetes API server.

Raw requests over the library's urllib3 pool: static paths, no models, no discovery, one keep-alive connection (about
1 ms a request instead of 3 through the dynamic client). The library does what it is best at: kubeconfig, exec
credentials and their renewal, TLS, proxies. It is imported when a Client is made, not before.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

from . import config, errors, http, stream
from .errors import ExecResult, KubeError
from .resources import KINDS, path

T = TypeVar("T")
Object = dict[str, Any]
Objects = list[Object]  # inside the class `list` is a method
FIELD_MANAGER = "kaiwudb.kubernetes"
PAGE = 500
CONNECT_TIMEOUT = 5.0
RETRY_STATUS = frozenset({429, 500, 502, 503, 504})
_PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
# What may be sent again. "always": nothing changes, or the same twice is the same as once. "unsent": only when the
# server cannot have seen it (no connection, 429): a second create or patch may do what nobody asked for.
_Retry = Literal["always", "unsent"]


class Client:
    """A connection to one API server.

    connection: the options of ``auth.AUTH_ARGS`` by name; missing ones count as unset. Raises KubeError with reason
    ConfigInvalid, LibraryMissing or WrongServer; sends no request.

    server: URL in use. context: kubeconfig context in use, None without one. counts: requests sent so far by sort:
    reads, writes, execs (port-forwards too), dry_runs. retry_seconds: how long a repeatable request may be tried
    again while the server is away; a server that has never answered is given up earlier.
    """

    def __init__(
        self, connection: Mapping[str, Any], *, retry_seconds: float = 20.0, first_retry_seconds: float = 4.0
    ) -> None:
        settings = config.build(connection)
        from kubernetes.client.rest import RESTClientObject

        self._configuration = settings.configuration
        self._pool = RESTClientObject(self._configuration).pool_manager
        if not self._configuration.verify_ssl:
            http.silence_unverified()
        self._answered = False
        self._retry_seconds = retry_seconds
        self._first_retry_seconds = first_retry_seconds
        self.server: str = self._configuration.host
        self.context: str | None = settings.context
        self.counts: Counter[str] = Counter(reads=0, writes=0, execs=0, dry_runs=0)

    def close(self) -> None:
        self._pool.clear()

    # ---- reading

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """The object, or None when it (or its namespace) does not exist."""
        try:
            return self._call("GET", "get", kind, name, namespace)
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self,
        kind: str,
        namespace: str | None = None,
        labels: Mapping[str, str] | str | None = None,
        fields: Mapping[str, str] | str | None = None,
    ) -> tuple[Objects, str]:
        """All objects that match, and the resourceVersion from which to watch. No namespace: all namespaces.

        Each item carries apiVersion and kind (the API server leaves them out in lists).
        """
        items: Objects = []
        query: dict[str, Any] = http.selectors(labels, fields) | {"limit": PAGE}
        while True:
            try:
                page = self._call("GET", "list", kind, None, namespace, query=query)
            except KubeError as error:
                if error.status != 410 or "continue" not in query:
                    raise
                items, _expired = [], query.pop("continue")  # the pages went out of date: from the start
                continue
            for item in page.get("items") or []:
                items.append({"apiVersion": KINDS[kind].api_version, "kind": kind} | item)
            meta = page.get("metadata", {})
            if not meta.get("continue"):
                return items, str(meta.get("resourceVersion", ""))
            query["continue"] = meta["continue"]

    def watch(
        self,
        kind: str,
        namespace: str | None = None,
        labels: Mapping[str, str] | str | None = None,
        fields: Mapping[str, str] | str | None = None,
        resource_version: str | None = None,
        *,
        timeout: float,
    ) -> Iterator[tuple[str, Object]]:
        """(ADDED|MODIFIED|DELETED|BOOKMARK, object) as they come; ends after ``timeout`` seconds.

        It also ends when the connection is lost: whoever needs the state lists again either way. A resourceVersion that
        is too old raises KubeError with status 410 and reason Expired: list again, then watch from there. Without a
        resource_version the existing objects come first, as ADDED.
        """
        deadline = time.monotonic() + timeout
        query = http.selectors(labels, fields) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": max(1, int(timeout + 0.999)),
        }
        if resource_version:
            query["resourceVersion"] = resource_version
        response = self._send(
            "GET", "watch", kind, None, namespace, query=query, stream_for=timeout, retry="always", count="reads"
        )
        try:
            for line in http.lines(response, deadline):
                event = json.loads(line)
                if event.get("type") == "ERROR":
                    raise http.status_error(event.get("object") or {}, 0, "watch", kind, None, namespace)
                yield event["type"], event["object"]
        finally:
            response.close()  # the rest of the stream is of no use: do not drain it into the pool
            response.release_conn()

    def logs(
        self, namespace: str, pod: str, container: str | None = None, *, tail: int = 50, previous: bool = False
    ) -> str:
        """The last ``tail`` lines; "" when the container has not started or no previous one exists."""
        query: dict[str, Any] = {"tailLines": tail}
        if container:
            query["container"] = container
        if previous:
            query["previous"] = "true"
        try:
            response = self._send("GET", "get", "Pod", pod, namespace, subresource="log", query=query, count="reads")
        except KubeError as error:
            if error.status in (400, 404):
                return ""
            raise
        return bytes(response.data).decode("utf-8", "replace")

    def events(self, namespace: str, name: str | None = None, uid: str | None = None) -> Objects:
        """Events about the object of that name and/or uid, oldest first."""
        fields = {key: value for key, value in (("involvedObject.name", name), ("involvedObject.uid", uid)) if value}
        items, _version = self.list("Event", namespace, fields=fields)
        return sorted(items, key=http.event_time)

    def can_i(
        self, verb: str, resource: str, group: str = "", namespace: str | None = None, name: str | None = None
    ) -> bool:
        """Whether the API server would allow it. resource: plural, with ``/subresource`` if meant (``pods/exec``)."""
        plural, _slash, subresource = resource.partition("/")
        attributes = {
            "verb": verb,
            "group": group,
            "resource": plural,
            "subresource": subresource,
            "namespace": namespace or "",
            "name": name or "",
        }
        kind = "SelfSubjectAccessReview"
        body = {
            "apiVersion": KINDS[kind].api_version,
            "kind": kind,
            "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
        }
        # A POST, yet nothing is stored: a read in every sense that counts here.
        answer = self._call("POST", "create", kind, None, None, body=body, retry="always", count="reads")
        return bool(answer.get("status", {}).get("allowed"))

    def server_version(self) -> dict[str, Any]:
        """``{"major": "1", "minor": "34", "gitVersion": "v1.34.4", ...}``."""
        response = self._send_url("GET", "/version", "get", "version", None, None, count="reads", retry="always")
        return dict(json.loads(response.data))

    # ---- writing

    def apply(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Server-side apply as ``kaiwudb.kubernetes``, taking over fields that others set. Returns the live object."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self._write("PATCH", "patch", obj, "always", dry_run, query, _PATCH_TYPES["apply"])

    def create(self, obj: Object, *, dry_run: bool = False) -> Object:
        """KubeError with reason AlreadyExists when it is there."""
        meta = obj["metadata"]
        name = meta.get("name")
        query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        return self._call(
            "POST",
            "create",
            obj["kind"],
            None,
            meta.get("namespace"),
            query=query,
            body=obj,
            retry="unsent",
            count="dry_runs" if dry_run else "writes",
            shown=name,
        )

    def replace(self, obj: Object, *, dry_run: bool = False) -> Object:
        """PUT of a whole object; with metadata.resourceVersion it is a compare-and-swap (reason Conflict)."""
        return self._write("PUT", "update", obj, "unsent", dry_run, {"fieldManager": FIELD_MANAGER})

    def patch(
        self,
        kind: str,
        name: str,
        namespace: str | None,
        body: Any,
        *,
        type: Literal["merge", "json", "strategic"] = "merge",
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """A precondition goes into the body: metadata.resourceVersion (merge, strategic) or a ``test`` (json).

        Reason Conflict when it does not hold; of a ``test`` the server only says that the request is invalid.
        """
        query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        try:
            return self._call(
                "PATCH",
                "patch",
                kind,
                name,
                namespace,
                subresource=subresource,
                query=query,
                body=body,
                content_type=_PATCH_TYPES[type],
                retry="unsent",
                count="dry_runs" if dry_run else "writes",
            )
        except KubeError as error:
            if type == "json" and error.status == 422 and any(item.get("op") == "test" for item in body):
                raise KubeError(
                    409, "Conflict", f"{kind} {name} is not what it was when it was looked at: somebody else changed it"
                ) from error
            raise

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        grace: int | None = None,
        propagation: Literal["Orphan", "Background", "Foreground"] | None = None,
        uid: str | None = None,
    ) -> bool:
        """True when the object was there. With ``uid`` only that very object: reason Conflict when it is another one.

        Sent again after a lost answer only with a uid: without one, a second delete could meet the successor.
        """
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        if propagation:
            body["propagationPolicy"] = propagation
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            self._call(
                "DELETE",
                "delete",
                kind,
                name,
                namespace,
                body=body,
                retry="always" if uid else "unsent",
                count="writes",
            )
        except KubeError as error:
            if error.status == 404:
                return False
            raise
        return True

    def evict(self, pod: str, namespace: str, *, uid: str) -> None:
        """Ends that very pod if its disruption budget lets it go. KubeError 429 when the budget refuses, 409 when it is another pod."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        self._call("POST", "create", "Pod", pod, namespace, subresource="eviction", body=body, count="writes")

    # ---- streams into pods

    def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: str | None = None,
    ) -> ExecResult:
        """Runs ``command`` (no shell) and returns its exit code, stdout and stderr apart.

        ``timeout`` seconds bound the wait, not the command: closing the stream kills nothing in the container, so put
        ``timeout -s KILL N`` before a command that may hang. KubeError with reason ExecFailed (could not be started),
        ExecCut, ExecTimeout, StdinUnsupported, or that of the API server.
        """

        def run() -> ExecResult:
            self.counts["execs"] += 1
            target = (path("Pod", pod, namespace, "exec"), self._configuration, self._authorization())
            return stream.run(*target, container, list(command), timeout, stdin, (pod, namespace))

        return self._until_sent(run)

    def port_forward(
        self,
        namespace: str,
        pod: str,
        port: int,
        *,
        bind: tuple[str, int] | None = ("127.0.0.1", 0),
        max_connections: int | None = None,
    ) -> stream.Relay:
        """Context manager: (address, port) of a local relay to a pod's port; each connection gets its own stream.

        bind: TCP address to listen on (port 0: a free one). None: a Unix socket in a new directory that only this user
        can enter, given back as (directory, port), which is how libpq names ``DIRECTORY/.s.PGSQL.PORT``; a TCP port on
        localhost is open to every user of the machine. max_connections: refuse more than so many in all.
        """

        def dial() -> Any:
            self.counts["execs"] += 1
            target = (path("Pod", pod, namespace, "portforward"), self._configuration, self._authorization())
            return stream.dial_port(*target, port, (pod, namespace))

        return stream.Relay(lambda: self._until_sent(dial), port, bind, max_connections)

    # ---- the seam

    def _until_sent(self, action: Callable[[], T]) -> T:
        """Opens a stream, again while the server refuses connections or asks for a pause (429: nothing ran); never after
        it may have begun what was asked."""
        deadline = self._patience()
        pause = 0.2
        while True:
            try:
                result = action()
            except KubeError as error:
                busy = error.status == 429
                self._answered = self._answered or busy
                pause = max(pause, 1.0) if busy else pause
                if not (error.unsent or busy) or time.monotonic() + pause > deadline:
                    raise
            else:
                self._answered = True
                return result
            time.sleep(pause)
            pause = min(pause * 2, 3.0)

    def _patience(self) -> float:
        """Until when a request may be repeated, by time.monotonic()."""
        return time.monotonic() + (self._retry_seconds if self._answered else self._first_retry_seconds)

    def _authorization(self) -> str | None:
        """The current Authorization header; asking for it renews expired exec credentials."""
        # The one way that every release of the library has; the name of the key has changed between them.
        value = self._configuration.auth_settings().get("BearerToken", {}).get("value")
        return str(value) if value else None

    def _write(
        self,
        method: str,
        verb: str,
        obj: Object,
        retry: _Retry,
        dry_run: bool,
        query: dict[str, str],
        content_type: str = "application/json",
    ) -> Object:
        meta = obj["metadata"]
        if dry_run:
            query["dryRun"] = "All"
        return self._call(
            method,
            verb,
            obj["kind"],
            meta["name"],
            meta.get("namespace"),
            query=query,
            body=obj,
            content_type=content_type,
            retry=retry,
            count="dry_runs" if dry_run else "writes",
        )

    def _call(self, method: str, verb: str, kind: str, name: str | None, namespace: str | None, **more: Any) -> Object:
        more.setdefault("count", "reads")
        return dict(json.loads(self._send(method, verb, kind, name, namespace, **more).data))

    def _send(
        self,
        method: str,
        verb: str,
        kind: str,
        name: str | None,
        namespace: str | None,
        *,
        subresource: str | None = None,
        query: Mapping[str, Any] | None = None,
        shown: str | None = None,
        **more: Any,
    ) -> Any:
        url = path(kind, name, namespace, subresource) + (f"?{urlencode(query)}" if query else "")
        return self._send_url(method, url, verb, kind, name or shown, namespace, **more)

    def _send_url(
        self,
        method: str,
        url: str,
        verb: str,
        kind: str,
        name: str | None,
        namespace: str | None,
        *,
        body: Any = None,
        content_type: str = "application/json",
        retry: _Retry = "always",
        count: str,
        stream_for: float | None = None,
    ) -> Any:
        """One request with its repetitions; a urllib3 response with a good status. Raises KubeError."""
        import urllib3

        subject = (verb, kind, name, namespace)
        data = None if body is None else json.dumps(body).encode()
        deadline = self._patience()
        attempt = 0
        while True:
            attempt += 1
            self.counts[count] += 1
            headers = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}
            if data is not None:
                headers["Content-Type"] = content_type
            authorization = self._authorization()
            if authorization:
                headers["Authorization"] = authorization
            pause: float | None = None
            try:
                response = self._pool.request(
                    method,
                    self.server + url,
                    body=data,
                    headers=headers,
                    retries=False,
                    redirect=False,
                    preload_content=stream_for is None,
                    timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=(stream_for or 0) + http.READ_TIMEOUT),
                )
            except urllib3.exceptions.HTTPError as error:
                failure = http.transport_error(error, self.server, *subject)
                if failure.reason != errors.TLS and (retry == "always" or failure.unsent):
                    pause = 0.0
            else:
                self._answered = True
                if response.status < 300:
                    return response
                failure = http.response_error(response, *subject)
                repeatable = response.status in RETRY_STATUS and http.repeatable(failure)
                if repeatable and (retry == "always" or response.status == 429):
                    pause = http.retry_after(response)
            if pause is None:
                raise failure
            pause = max(pause, min(0.1 * 2**attempt, 3.0))
            if time.monotonic() + pause > deadline:
                raise failure
            time.sleep(pause)  # nothing to watch here: the server itself is away or asked for a pause


Runner = Callable[[str, Sequence[str], float], ExecResult]


def runner(client: Client, namespace: str, container: str = "kaiwudb") -> Runner:
    """What ``_engine.cli.Engine`` needs: (pod, argv, timeout) -> ExecResult."""
    return lambda pod, argv, timeout: client.exec(namespace, pod, container, argv, timeout=timeout)
