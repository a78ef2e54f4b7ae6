# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""One run at a time for each cluster: a Lease, taken by compare-and-swap, renewed beside the work. PRIVATE to the collection."""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
from datetime import datetime, timezone

from .._kube.errors import KubeError
from . import manifests
from .answer import under_way
from .errors import ClusterError
from .names import Names

if t.TYPE_CHECKING:
    from .._kube.client import Client
    from .context import Context
    from .run import Run

DURATION = 20  # seconds a renew time may stand still before the run that holds it counts as dead
RENEW = 5.0


def now() -> str:
    """The time as a Lease writes it (MicroTime, UTC)."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Lock:
    """holder: C(who/run id); the same run coming back with its next slice holds it still. kept: whether a slice before has kept it for this one.

    Whether another's renew time moves is watched, not compared with this machine's clock, which may be wrong by minutes.
    """

    def __init__(self, client: Client, names: Names, holder: str, *, kept: bool = False) -> None:
        self._client, self._names, self._holder = client, names, holder
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost: str = ""
        self._renewed = (0.0, 0.0) if kept else self._clocks()  # between slices nobody renews it

    def take(self, describe: t.Callable[[], str], say: t.Callable[[str], None]) -> None:
        """Hold the lock, or raise ClusterError (locked) that names its holder and what C(describe) knows of its work."""
        lease = self._get() or self._create()
        seen = time.monotonic()
        renewed = lease["spec"].get("renewTime")
        other = self._other(lease)
        while other:
            if time.monotonic() - seen > DURATION:
                say(f"took over the lock of {other}, which has not moved for {DURATION} s")
                break
            self._watch(lease)
            lease = self._get() or self._create()
            if self._other(lease) != other or lease["spec"].get("renewTime") != renewed:
                if not self._other(lease):
                    break
                raise self._refusal(lease, describe())
        self._swap(lease, self._holder, describe)
        self._renewed = self._clocks()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def taken(self) -> str:
        """Who has taken the lock; "" while it is ours. Whoever was not renewed for so long that others may have taken it asks first.

        So it is after a machine slept, or a server was away. KubeError while the server does not answer.
        """
        while not self.lost and self._overdue():
            with contextlib.suppress(ClusterError):  # another was faster in this moment: look again
                self._keep()
        return self.lost

    @staticmethod
    def _clocks() -> tuple[float, float]:
        """Both: the one stands still while a machine sleeps, the other is set by hand."""
        return time.monotonic(), time.time()

    def _overdue(self) -> bool:
        return any(now - then > DURATION for now, then in zip(self._clocks(), self._renewed, strict=True))

    def hold(self) -> None:
        """Keep the lock for the next slice of this run: stop renewing, do not give it up."""
        self._stop.set()
        if self._thread:
            self._thread.join(RENEW)

    def release(self) -> None:
        """Give it up; a lock that somebody else holds by now is left alone."""
        self.hold()
        # Taken over in this moment, deleted with its namespace, or the server is away: none of them is what this run came to.
        with contextlib.suppress(ClusterError, KubeError):
            lease = self._get()
            if lease and lease["spec"].get("holderIdentity") == self._holder:
                self._swap(lease, "")

    def _other(self, lease: t.Mapping[str, t.Any]) -> str:
        holder = lease["spec"].get("holderIdentity") or ""
        return "" if holder == self._holder else holder

    def _get(self) -> dict[str, t.Any] | None:
        return self._client.get("Lease", self._names.lock, self._names.namespace)

    def _create(self) -> dict[str, t.Any]:
        try:
            return self._client.create(manifests.lease(self._names, self._holder, now(), DURATION))
        except KubeError as error:
            if error.status != 409:
                raise
            return self._get() or self._create()

    def _swap(self, lease: t.Mapping[str, t.Any], holder: str, describe: t.Callable[[], str] = lambda: "") -> None:
        """Write C(holder), only if it is still the Lease that was read; ClusterError (locked) when another was faster."""
        stamp = now()
        body = {
            "metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]},
            "spec": {
                "holderIdentity": holder,
                "renewTime": stamp,
                **({"acquireTime": stamp} if lease["spec"].get("holderIdentity") != holder else {}),
            },
        }
        try:
            self._client.patch("Lease", self._names.lock, self._names.namespace, body)
        except KubeError as error:
            if error.status == 409:
                raise self._refusal(self._get() or lease, describe()) from error
            raise

    def _refusal(self, lease: t.Mapping[str, t.Any], work: str) -> ClusterError:
        spec = lease["spec"]
        holder = (spec.get("holderIdentity") or "somebody").split("/")[0]
        return ClusterError(
            f"another run holds this cluster: {holder}, since {_when(spec, 'acquireTime')}{f' ({work})' if work else ''}. "
            f"It renewed its lock at {_when(spec, 'renewTime')}. Nothing was changed. Wait for it, or cancel it there.",
            "locked",
            holder=holder,
            resumable=True,
        )

    def _watch(self, lease: t.Mapping[str, t.Any]) -> None:
        """Until the Lease changes, two seconds at most."""
        try:
            for _event in self._client.watch(
                "Lease",
                self._names.namespace,
                fields={"metadata.name": self._names.lock},
                resource_version=lease["metadata"]["resourceVersion"],
                timeout=2,
            ):
                return
        except KubeError as error:
            if error.status != 410:
                raise
            # The version is older than the server's memory: list, and watch from there.
            version = self._client.list("Lease", self._names.namespace, fields={"metadata.name": self._names.lock})[1]
            for _event in self._client.watch(
                "Lease",
                self._names.namespace,
                fields={"metadata.name": self._names.lock},
                resource_version=version,
                timeout=2,
            ):
                return

    def _keep(self) -> None:
        """Renew it once, or note that it is lost: also to a run that has given it back since."""
        lease, began = self._get(), self._clocks()
        if lease is None:
            self.lost = "nobody (it was deleted)"
        elif lease["spec"].get("holderIdentity") != self._holder:
            self.lost = self._other(lease) or "another run, which has ended since"
        else:
            self._swap(lease, self._holder)
            self._renewed = began

    def _renew(self) -> None:
        while not self._stop.wait(RENEW):
            try:
                self._keep()
                if self.lost:
                    return
            except (KubeError, ClusterError):
                continue  # an API server that is away for a moment: the duration allows for it


def _when(spec: t.Mapping[str, t.Any], field: str) -> str:
    """A Lease's time for a person, to the second."""
    return f"{spec[field][:19]} UTC" if spec.get(field) else "?"


def locked(run: Run, ctx: Context, work: t.Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
    """C(work) under the cluster's lock. A slice that ends keeps it for the next one, also one that fails for a moment's trouble;
    everything else gives it up."""
    held = Lock(run.client, ctx.names, run.holder, kept=run.kept)
    ctx.lost = held.taken
    if run.kept:
        ctx.check_lock()  # the machine may have slept between two slices; what is asked may be called off by now
    held.take(lambda: under_way(ctx.seen), ctx.say)
    run.kept = False
    try:
        result = work()
    except BaseException as error:
        run.kept = run.passes(error)
        if run.kept:
            held.hold()
        else:
            held.release()
        raise
    if result["in_progress"] and run.sliced:
        held.hold()
        result["carry"] = {**result["carry"], "locked": True}
    else:
        held.release()
    return result
