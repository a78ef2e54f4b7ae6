# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""One run at a time: taking, refusing, taking over, and losing the lock. The clock is faked."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import lock as under_test
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import manifests
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import HICCUPS, ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.lock import DURATION, Lock
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.run import Run
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.errors import EngineError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import NAMES, REQUIRED
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock

Make = Callable[[str], Lock]
THEN = "2026-11-23T09:41:00.000000Z"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(under_test, "time", made)
    return made


@pytest.fixture
def client(clock: Clock) -> Client:
    return Client(clock)


@pytest.fixture
def make(client: Client, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(Lock, "_renew", lambda self: None)  # the thread is tried on its own below
    return lambda holder: Lock(client, NAMES, holder)


def take(held: Lock, said: list[str] | None = None) -> None:
    held.take(lambda: "scale_in kw-3", (said if said is not None else []).append)


def lease(client: Client) -> dict[str, Any]:
    return client.objects["Lease", "kw-lock"]["spec"]


def held_by(client: Client, holder: str) -> None:
    client.put(manifests.lease(NAMES, holder, THEN, DURATION))


def test_taking_a_free_lock(client: Client, make: Make) -> None:
    take(make("ann/1"))
    assert lease(client)["holderIdentity"] == "ann/1" and lease(client)["leaseDurationSeconds"] == DURATION
    assert [verb for verb, _kind, _name in client.sent] == ["get", "create", "patch"]


def test_taking_one_that_was_given_back(client: Client, make: Make) -> None:
    held_by(client, "")
    take(make("ann/1"))
    assert lease(client)["holderIdentity"] == "ann/1" and lease(client)["renewTime"] != THEN
    assert lease(client)["acquireTime"] == lease(client)["renewTime"], "not since the run before it ended"
    assert "watch" not in [verb for verb, _kind, _name in client.sent], "nobody is waited for"


def test_the_next_slice_of_the_same_run_holds_it_still(client: Client, make: Make) -> None:
    first = make("ann/1")
    take(first)
    first.hold()
    assert lease(client)["holderIdentity"] == "ann/1"
    acquired = lease(client)["acquireTime"]
    take(make("ann/1"))
    assert lease(client)["acquireTime"] == acquired, "since when it runs is not told anew"


@pytest.mark.parametrize(
    ("holder", "lost"),
    [("ann/1", ""), ("eve/9", "eve/9"), ("", "another run, which has ended since"), (None, "nobody (it was deleted)")],
)
def test_a_lock_that_was_lost_between_two_slices_is_not_taken_again(
    client: Client, holder: str | None, lost: str
) -> None:
    """The machine may have slept for hours."""
    if holder is not None:
        held_by(client, holder)
    assert Lock(client, NAMES, "ann/1", kept=True).taken() == lost
    assert (("patch", "Lease", "kw-lock") in client.sent) is (not lost), "renewed, or left alone"


@pytest.mark.parametrize("ends", ["refused", "nothing to do"])
@pytest.mark.parametrize(("carry", "still"), [({"locked": True}, ""), ({}, "ann/1"), (None, "ann/1")])
def test_a_slice_that_ends_early_gives_up_what_the_one_before_kept(
    client: Client, make: Make, ends: str, carry: dict[str, Any] | None, still: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whoever runs next would wait for a run that is over."""
    held_by(client, "ann/1")
    run = Run(client, REQUIRED, who="ann", run_id="1", carry=carry)  # type: ignore[arg-type]

    def slice_of_it() -> dict[str, Any]:
        if ends == "refused":
            raise ClusterError("gate nodes_live", "nodes_live")
        return {}

    monkeypatch.setattr(run, "slice", slice_of_it)
    if ends == "refused":
        with pytest.raises(ClusterError):
            run.go()
    else:
        run.go()
    assert lease(client)["holderIdentity"] == still
    assert bool(client.sent) is bool(carry), "who holds nothing asks nothing"


@pytest.mark.parametrize(
    ("error", "how", "hands_on"),
    [
        *((ClusterError("x", reason, step="upgrade/kw-2"), {}, True) for reason in HICCUPS),
        (KubeError(0, "ConnectionFailed", "refused"), {}, True),
        (EngineError("cut", "no exit code"), {}, True),
        *((ClusterError("x", reason, step="upgrade/kw-2"), {}, False) for reason in ("image_pull", "locked", "timeout", "engine_sql")),
        (ClusterError("x", "api_conflict", step="upgrade/kw-2", resumable=False), {}, False),
        (ClusterError("x", "api_conflict", step="upgrade/kw-2"), {"sliced": False}, False),
        (ClusterError("x", "api_conflict"), {"carry": {}}, False),  # nothing was begun
        (ClusterError("x", "api_conflict", step="upgrade/kw-2"), {"carry": {}}, True),
        (ClusterError("x", "api_conflict", step="upgrade/kw-2"), {"carry": {"locked": True, "last_try": True}}, False),
    ],
)  # fmt: skip
def test_a_moments_trouble_hands_on_what_the_slice_knew(
    client: Client, make: Make, error: Exception, how: dict[str, Any], hands_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock above all: given up, the next slice would take it anew, whatever another run did meanwhile."""
    held_by(client, "ann/1")
    known = {"carry": {"locked": True, "changed": True, "waiting": {"since": 1.5}}, "sliced": True, **how}
    run = Run(client, REQUIRED, who="ann", run_id="1", **known)  # type: ignore[arg-type]

    def slice_of_it() -> dict[str, Any]:
        raise error

    monkeypatch.setattr(run, "slice", slice_of_it)
    with pytest.raises(ClusterError) as found:
        run.go()
    assert found.value.facts.get("carry") == (
        {"locked": False, "changed": False, **known["carry"]} if hands_on else None
    )
    assert lease(client)["holderIdentity"] == ("ann/1" if hands_on or not known["carry"] else "")


@pytest.mark.parametrize(("reason", "kept"), [("api_conflict", True), ("image_pull", False)])
def test_work_that_fails_for_a_moment_keeps_the_lock_it_took(
    client: Client, make: Make, reason: str, kept: bool
) -> None:
    run = Run(client, REQUIRED, who="ann", run_id="1", sliced=True)  # type: ignore[arg-type]

    def work() -> dict[str, Any]:
        raise ClusterError("x", reason, step="upgrade/kw-2")

    ctx = SimpleNamespace(names=NAMES, seen=None, say=lambda _text: None, check_lock=lambda: None)
    with pytest.raises(ClusterError):
        under_test.locked(run, ctx, work)  # type: ignore[arg-type]
    assert run.kept is kept and lease(client)["holderIdentity"] == ("ann/1" if kept else "")


def test_a_server_that_is_away_when_it_is_given_up_hides_nothing(client: Client, make: Make) -> None:
    held = make("ann/1")
    take(held)
    client.fail["get", "Lease"] = KubeError(0, "ConnectionFailed", "refused")
    held.release()


def test_a_run_that_renews_refuses_another_and_is_named(client: Client, clock: Clock, make: Make) -> None:
    held_by(client, "bob on awx/7")
    client.on_watch = lambda: client.objects["Lease", "kw-lock"]["spec"].update(renewTime="2026-11-23T09:45:00.000000Z")
    with pytest.raises(ClusterError) as error:
        take(make("ann/1"))
    assert error.value.msg == (
        "another run holds this cluster: bob on awx, since 2026-11-23T09:41:00 UTC (scale_in kw-3). It renewed its lock at "
        "2026-11-23T09:45:00 UTC. Nothing was changed. Wait for it, or cancel it there."
    )
    assert (error.value.reason, error.value.facts) == ("locked", {"holder": "bob on awx", "resumable": True})
    assert clock.now == 1002.0 and ("patch", "Lease", "kw-lock") not in client.sent


def test_another_holder_meanwhile_refuses_too(client: Client, make: Make) -> None:
    held_by(client, "bob/7")
    client.on_watch = lambda: held_by(client, "eve/9")
    with pytest.raises(ClusterError, match="another run holds this cluster: eve, "):
        take(make("ann/1"))


def test_one_that_is_given_up_meanwhile_is_taken(client: Client, make: Make) -> None:
    held_by(client, "bob/7")
    client.on_watch = lambda: client.objects["Lease", "kw-lock"]["spec"].update(holderIdentity="")
    take(make("ann/1"))
    assert lease(client)["holderIdentity"] == "ann/1"


def test_one_that_is_deleted_meanwhile_is_made_anew(client: Client, make: Make) -> None:
    held_by(client, "bob/7")
    client.on_watch = lambda: client.objects.pop(("Lease", "kw-lock"), None) and None
    take(make("ann/1"))
    assert lease(client)["holderIdentity"] == "ann/1"


def test_a_dead_run_is_taken_over_aloud_after_the_duration(client: Client, clock: Clock, make: Make) -> None:
    """Whatever its renew time says: this machine's clock may be wrong by minutes."""
    client.put(manifests.lease(NAMES, "bob/7", "2036-01-01T00:00:00.000000Z", DURATION))
    said: list[str] = []
    take(make("ann/1"), said)
    assert said == [f"took over the lock of bob/7, which has not moved for {DURATION} s"]
    assert (
        lease(client)["holderIdentity"] == "ann/1"
        and lease(client)["acquireTime"] == lease(client)["renewTime"] != THEN
    )
    assert DURATION < clock.now - 1000.0 <= DURATION + 4


def test_a_watch_whose_version_is_too_old_lists_again(client: Client, make: Make) -> None:
    held_by(client, "bob/7")
    calls: list[str] = []
    watch = client.watch

    def expired_once(*args: Any, **how: Any) -> Any:
        calls.append(how["resource_version"])
        if len(calls) % 2:
            raise KubeError(410, "Expired", "too old resource version")
        return watch(*args, **how)

    client.watch = expired_once  # type: ignore[method-assign]
    take(make("ann/1"))
    assert lease(client)["holderIdentity"] == "ann/1" and ("list", "Lease", "") in client.sent
    client.watch = watch  # type: ignore[method-assign]
    held_by(client, "bob/7")
    client.fail["watch", "Lease"] = KubeError(403, "Forbidden", "no")
    with pytest.raises(KubeError, match="no"):
        take(make("ann/1"))


def test_two_at_once_and_only_one_wins(client: Client, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    held_by(client, "")
    patch = client.patch

    def late(*args: Any, **how: Any) -> Any:
        held_by(client, "eve/9")
        return patch(*args, **how)

    monkeypatch.setattr(client, "patch", late)
    with pytest.raises(
        ClusterError, match=r"another run holds this cluster: eve, since .* UTC \(scale_in kw-3\)"
    ) as error:
        take(make("ann/1"))
    assert error.value.reason == "locked" and lease(client)["holderIdentity"] == "eve/9"


def test_creating_at_the_same_moment(client: Client, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def beaten(obj: Any) -> Any:
        held_by(client, "eve/9")
        raise KubeError(409, "AlreadyExists", "it is there")

    monkeypatch.setattr(client, "create", beaten)
    client.on_watch = lambda: client.objects["Lease", "kw-lock"]["spec"].update(renewTime="later")
    with pytest.raises(ClusterError, match="eve"):
        take(make("ann/1"))


def test_other_failures_are_not_hidden(client: Client, make: Make) -> None:
    for verb in ("create", "patch"):
        client.fail = {(verb, "Lease"): KubeError(403, "Forbidden", "no")}
        with pytest.raises(KubeError) as error:
            take(make("ann/1"))
        assert error.value.status == 403


def test_releasing(client: Client, make: Make) -> None:
    held = make("ann/1")
    take(held)
    held.release()
    assert lease(client)["holderIdentity"] == ""
    held_by(client, "eve/9")
    held.release()
    assert lease(client)["holderIdentity"] == "eve/9", "what somebody else holds is left alone"
    client.objects.clear()
    held.release()
    held_by(client, "ann/1")
    client.fail["patch", "Lease"] = KubeError(409, "Conflict", "late")
    held.release()


# ---- renewing


class Turns:
    """Stands in for the event: lets the thread turn so many times."""

    def __init__(self, count: int) -> None:
        self.count = count

    def wait(self, seconds: float) -> bool:
        assert seconds == under_test.RENEW
        self.count -= 1
        return self.count < 0


def renewing(client: Client, turns: int) -> Lock:
    held = Lock(client, NAMES, "ann/1")
    held._stop = Turns(turns)  # type: ignore[assignment]
    held._renew()
    return held


def test_it_is_renewed(client: Client) -> None:
    held_by(client, "ann/1")
    assert renewing(client, 3).lost == ""
    assert [verb for verb, _kind, _name in client.sent] == ["get", "patch"] * 3
    assert lease(client)["renewTime"] != THEN and lease(client)["acquireTime"] == THEN


def test_a_server_that_is_away_for_a_moment_loses_nothing(client: Client) -> None:
    held_by(client, "ann/1")
    client.fail["get", "Lease"] = KubeError(0, "ConnectionFailed", "refused")
    assert renewing(client, 3).lost == ""


def test_a_lock_that_was_lost_says_to_whom(client: Client) -> None:
    held_by(client, "eve/9")
    assert renewing(client, 3).lost == "eve/9" and ("patch", "Lease", "kw-lock") not in client.sent
    client.objects.clear()
    assert renewing(client, 3).lost == "nobody (it was deleted)"


@pytest.mark.parametrize(
    ("holder", "lost"), [("eve/9", "eve/9"), ("", "another run, which has ended since"), ("ann/1", "")]
)
@pytest.mark.parametrize("sleeps", [True, False])
def test_after_a_sleep_the_lease_is_asked_before_anything_else(
    client: Client, clock: Clock, make: Make, monkeypatch: pytest.MonkeyPatch, holder: str, lost: str, sleeps: bool
) -> None:
    """While a machine sleeps its monotonic clock may stand still; a clock set back must not hide it either."""
    held = make("ann/1")
    take(held)
    held_by(client, holder)
    client.sent.clear()
    assert held.taken() == "" and client.sent == [], "renewed in time it is nobody else's"
    monkeypatch.setattr(clock, "time" if sleeps else "monotonic", lambda: 1.7e9 + 2000.0)
    assert held.taken() == lost
    assert [verb for verb, _kind, _name in client.sent] == (["get"] if lost else ["get", "patch"])
    client.sent.clear()
    assert held.taken() == lost and client.sent == [], "once is enough"


def test_of_a_lock_that_cannot_be_looked_at_nobody_says_that_it_is_ours(
    client: Client, clock: Clock, make: Make
) -> None:
    held = make("ann/1")
    take(held)
    clock.now += DURATION + 1
    client.fail["get", "Lease"] = KubeError(0, "ConnectionFailed", "refused")
    with pytest.raises(KubeError):
        held.taken()


def test_taken_in_the_very_moment_it_is_renewed(
    client: Client, clock: Clock, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = make("ann/1")
    take(held)
    clock.now += DURATION + 1
    patch = client.patch

    def late(*args: Any, **how: Any) -> Any:
        held_by(client, "eve/9")
        return patch(*args, **how)

    monkeypatch.setattr(client, "patch", late)
    assert held.taken() == "eve/9" and lease(client)["holderIdentity"] == "eve/9"


def test_one_that_was_given_back_by_whoever_took_it_is_lost_too(client: Client) -> None:
    held_by(client, "")
    assert renewing(client, 3).lost == "another run, which has ended since"
    assert ("patch", "Lease", "kw-lock") not in client.sent
