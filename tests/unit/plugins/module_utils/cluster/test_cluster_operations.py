# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What steps do to a cluster in memory: whom they leave alone, what they refuse, what they remember."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import (
    context,
    gates,
    lock,
    manifests,
    short_lived_pods,
    verdict,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import run as run_module
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.context import Context
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.node_run import NodeRun
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import Deep, Observed
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations import (
    initialize,
    members,
    remove,
    short_lived,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations.close import close
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Plan, Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.ranges import Constraint
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.run import Run
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    ID,
    JOURNAL,
    NAMES,
    RETIRED,
    claim,
    deep,
    during,
    ids,
    live,
    plan,
    pod,
    ranges,
    row,
    silent,
    spec,
    spec_over,
    statefulset,
    store,
    volume,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock


class World(Client):
    """A server that also deletes, and patches annotations and the StatefulSet's size."""

    counts: ClassVar[dict[str, int]] = {}

    def delete(self, kind: str, name: str, namespace: str | None = None, **_how: Any) -> bool:
        self._sent("delete", kind, name)
        return self.objects.pop((kind, name), None) is not None

    def patch(self, kind: str, name: str, namespace: str | None, body: Any, **_how: Any) -> dict[str, Any]:
        if isinstance(body, dict) and "metadata" in body and "resourceVersion" in body["metadata"]:
            return super().patch(kind, name, namespace, body)
        self._sent("patch", kind, name)
        item = self.objects[kind, name]
        if isinstance(body, list):
            item["spec"]["replicas"] = body[-1]["value"]
        else:
            notes = item["metadata"].setdefault("annotations", {})
            notes.update(body["metadata"]["annotations"])
        return self.put(item)

    def deleted(self) -> list[str]:
        return [f"{kind}/{name}" for verb, kind, name in self.sent if verb == "delete"]


class Told(Context):
    """Its engine is what the test says: rows and deep view."""

    known: Deep | None = None
    rows: Any = None

    def look(self) -> Observed:
        self.look_at_objects()
        return self.ask_engine()

    def ask_engine(self) -> Observed:
        self.look_at_pods()
        self.seen = replace(self.seen, nodes=self.rows)
        return self.seen

    def deep(self) -> Deep | None:
        return self.known


def ground(seen: Observed, clock: Clock, *more: Any, **asked: Any) -> tuple[Told, World]:
    """The cluster of this snapshot on a server. more: further objects there."""
    client = World(clock, {"kind": "Namespace", "metadata": {"name": "db"}})
    for kinds in seen.objects.values():
        for item in kinds.values():
            client.put(dict(item))
    if seen.journal != Journal():
        client.put(manifests.configmap(NAMES, seen.journal.data()))
    for item in more:
        client.put(item)
    wanted = spec_over(seen, **asked) if seen.remembered else spec(**asked)
    ctx = Told(client, wanted, PROFILES["kwdb"], "ann", run_id="r1")  # type: ignore[arg-type]
    ctx.seen, ctx.rows = seen, seen.nodes
    return ctx, client


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(context, "time", made)
    return made


# ---- short-lived pods


def called(name: str, **labels: str) -> dict[str, Any]:
    """A pod of that name with the labels of one of ours but for these."""
    made = pod(0)
    made["metadata"] = {
        "name": name,
        "namespace": "db",
        "uid": "old",
        "labels": {**NAMES.labels, "app.kubernetes.io/component": "volume", **labels},
    }
    made["spec"]["containers"][0]["command"] = ["/bin/sh"]
    return made


def prepare(ctx: Context, done: Callable[[], None] = lambda: None) -> None:
    wanted = {"kw-volume-0": short_lived_pods.preparer(ctx.spec, 0, "w1", "/var/lib/kaiwudb/db.kw-0", "make")}
    short_lived.run(ctx, wanted, lambda *_pod: verdict.DONE, "volume/kw-0", done)


OTHERS: Sequence[dict[str, str]] = [
    {"app.kubernetes.io/instance": "kw-volume", "app.kubernetes.io/component": "database"},
    {"app.kubernetes.io/instance": "kw-volume"},
    {"app.kubernetes.io/component": "database"},
    {"app.kubernetes.io/managed-by": "Helm"},
]


@pytest.mark.parametrize("labels", OTHERS)
def test_a_pod_of_another_cluster_whose_name_a_helper_needs_stays(clock: Clock, labels: dict[str, str]) -> None:
    """Cluster kw-volume has its first database pod where kw has the pod that prepares its first volume."""
    ctx, client = ground(live(), clock, called("kw-volume-0", **labels))
    with pytest.raises(ClusterError) as error:
        prepare(ctx)
    assert (error.value.reason, error.value.facts["resumable"]) == ("foreign_object", False)
    assert client.deleted() == []


@pytest.mark.parametrize("labels", OTHERS)
def test_nor_is_it_cleaned_up(clock: Clock, labels: dict[str, str]) -> None:
    ctx, client = ground(live(), clock)
    prepare(ctx, lambda: client.put(called("kw-volume-0", **labels)) and None)
    assert client.deleted() == []


def test_nor_is_the_helper_of_a_run_that_took_over(clock: Clock) -> None:
    """Whoever lost the lock stops where it is; the other one's pod, in the middle of erasing perhaps, has the same name."""
    ctx, client = ground(live(), clock)
    theirs = called("kw-volume-0")
    theirs["metadata"]["annotations"] = {"kaiwudb.kubernetes/run": "another"}
    prepare(ctx, lambda: client.put(theirs) and None)
    assert client.deleted() == []


def test_a_helper_that_a_killed_run_left_goes_first_and_the_new_one_at_the_end(clock: Clock) -> None:
    ctx, client = ground(live(), clock, called("kw-volume-0"))
    prepare(ctx)
    assert client.deleted() == ["Pod/kw-volume-0"] * 2 and ("create", "Pod", "kw-volume-0") in client.sent


# ---- what may be removed


def removal(clock: Clock, seen: Observed, **asked: Any) -> Plan:
    ctx, client = ground(seen, clock, operations=["remove"], **asked)
    ctx.known = deep()
    return Run(client, {"name": "kw", "namespace": "db"}, state="absent").plan(ctx, look=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [({}, "confirmed"), ({"confirm": "kw"}, "protected"), ({"confirm": "kw", "deletion_protection": False}, "")],
)
@pytest.mark.parametrize("without", [[], ["StatefulSet/kw"]])
def test_pods_that_lost_their_statefulset_are_protected_as_ever(
    clock: Clock, asked: dict[str, Any], reason: str, without: list[str]
) -> None:
    if not reason:
        assert removal(clock, live(without=without), **asked).steps
        return
    with pytest.raises(ClusterError) as error:
        removal(clock, live(without=without), **asked)
    assert error.value.reason == reason


def test_a_removal_that_was_interrupted_goes_on_without_being_judged_again(clock: Clock) -> None:
    """Its StatefulSet is gone, its pods are ending, and nobody can tell any more what it holds."""
    seen = live(without=["StatefulSet/kw"], journal=during("remove", options={"security": "insecure"}))
    assert removal(clock, seen, confirm="kw").steps


def labelled(kind: str, name: str, **labels: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": "db", "labels": labels}, "spec": {}}


CLAIMS = [f"PersistentVolumeClaim/datadir-kw-{ordinal}" for ordinal in range(3)]


def test_a_namespace_with_claims_is_kept(clock: Clock) -> None:
    """They are the cluster's own; and with them all that a storage class made for it would go."""
    ctx, client = ground(live(), clock)
    remove.namespace(ctx, Step("remove/namespace", ""))
    assert client.deleted() == []
    assert ctx.lines == ["namespace db kept: it holds PersistentVolumeClaim datadir-kw-0 and 2 more"]


@pytest.mark.parametrize("kind", ["Deployment", "Job", "CronJob", "ConfigMap"])
def test_a_namespace_with_other_peoples_work_is_kept(clock: Clock, kind: str) -> None:
    """A Deployment scaled to 0 and a CronJob between its hours have no pod that would show."""
    ctx, client = ground(live(without=CLAIMS), clock, labelled(kind, "reports"))
    remove.namespace(ctx, Step("remove/namespace", ""))
    assert client.deleted() == [] and ctx.lines == [f"namespace db kept: it holds {kind} reports"]


def test_a_namespace_whose_contents_may_not_be_seen_is_kept(clock: Clock) -> None:
    ctx, client = ground(live(without=CLAIMS), clock)
    for kind in ("Deployment", "CronJob"):
        client.fail["list", kind] = KubeError(403, "Forbidden", "no")
    remove.namespace(ctx, Step("remove/namespace", ""))
    assert client.deleted() == []
    assert ctx.lines == ["namespace db kept: whether it holds any Deployment or CronJob may not be seen"]
    client.fail["list", "Deployment"] = KubeError(500, "InternalError", "no")
    with pytest.raises(KubeError):
        remove.namespace(ctx, Step("remove/namespace", ""))


def test_an_empty_namespace_goes(clock: Clock) -> None:
    ctx, client = ground(live(without=CLAIMS), clock)
    ctx.lost = lambda: "nobody (it was deleted)"  # with all else that is in it, before it is gone itself
    there: list[Any] = [{}, {}]
    client.get = lambda *_what: there.pop() if there else None  # type: ignore[method-assign]
    remove.namespace(ctx, Step("remove/namespace", ""))
    assert client.deleted() == ["Namespace/db"]


def test_a_removal_ends_only_pods_of_its_own(clock: Clock) -> None:
    """Labels that somebody else's pods happen to share are not enough."""
    helm = {"app.kubernetes.io/managed-by": "Helm"}
    ctx, client = ground(
        live(),
        clock,
        called("theirs-0", **helm),
        called("theirs-1", **helm, **{"app.kubernetes.io/component": "database"}),
        called("kw-pull-0"),
    )
    remove._end_pods(ctx)
    remove._end_helpers(ctx)
    assert client.deleted() == ["Pod/kw-0", "Pod/kw-1", "Pod/kw-2", "Pod/kw-pull-0"]


# ---- nodes that leave

STORE = {"kaiwudb.kubernetes/fingerprint": json.dumps({"cluster_id": ID, "node_id": 4})}
OLD_STORE = {"kaiwudb.kubernetes/cluster-id": ID, "kaiwudb.kubernetes/store": "node 4"}  # as earlier versions wrote it
DELETE = {"volumes": "delete"}


def leaving(clock: Clock, seen: Observed, ordinal: int = 3, **asked: Any) -> tuple[Told, World]:
    """The step that takes the highest pod away, up to its end or its refusal."""
    ctx, client = ground(seen, clock, **{**DELETE, **asked})
    ctx.known = deep(whole_for=20, apart=15, stores=[store(number) for number in range(1, 5)])

    def follow() -> None:
        """The controller ends the pod it has no use for any more."""
        if client.objects["StatefulSet", "kw"]["spec"]["replicas"] <= ordinal:
            client.objects.pop(("Pod", f"kw-{ordinal}"), None)

    client.on_watch = follow
    step = Step(f"scale_in/kw-{ordinal}", "", "scale_in", pod=f"kw-{ordinal}", facts={"ordinal": ordinal})
    members.scale_in(ctx, step)
    return ctx, client


THREE = [row(number + 1, number) for number in range(3)]
NEVER = pod(3, ready=False, unschedulable="0/4 nodes are available")


@pytest.mark.parametrize("pods", [[NEVER], [pod(3, ready=False, waiting=("CrashLoopBackOff", ""))], []])
def test_a_pod_that_never_joined_may_go_again(clock: Clock, pods: list[Any]) -> None:
    """Else a scale out that cannot succeed could not be undone either."""
    _ctx, client = leaving(clock, live(4, pods=[pod(0), pod(1), pod(2), *pods], nodes=THREE))
    assert client.objects["StatefulSet", "kw"]["spec"]["replicas"] == 3
    assert {"PersistentVolumeClaim/datadir-kw-3", "PersistentVolume/db.kw-3"} <= set(client.deleted())


@pytest.mark.parametrize(
    ("last", "extra"),
    [
        (NEVER, [claim(3, **STORE)]),
        (NEVER, [volume(3, uid="claim-3", **STORE)]),
        (NEVER, [volume(3, uid="claim-3", **OLD_STORE)]),
        (pod(3), []),
    ],
)
def test_a_pod_that_has_a_store_or_serves_does_not_go_unknown(clock: Clock, last: Any, extra: list[Any]) -> None:
    seen = live(4, pods=[pod(0), pod(1), pod(2), last], nodes=THREE, extra=extra)
    with pytest.raises(ClusterError) as error:
        leaving(clock, seen)
    assert error.value.reason == "node_unknown"


def test_a_pod_that_joins_while_the_gates_are_judged_does_not_go_unknown(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def joined(ctx: Told) -> Observed:
        ctx.rows = [*THREE, row(4, 3)]
        return look(ctx)

    look = Told.ask_engine
    monkeypatch.setattr(Told, "ask_engine", joined)
    with pytest.raises(ClusterError) as error:
        leaving(clock, live(4, pods=[pod(0), pod(1), pod(2), NEVER], nodes=THREE))
    assert error.value.reason == "node_unknown"


def test_what_never_joined_goes_behind_the_gates_of_the_others(clock: Clock) -> None:
    dead = [row(1, 0), row(2, 1, is_live=False), row(3, 2)]
    with pytest.raises(ClusterError) as error:
        leaving(clock, live(4, pods=[pod(0), pod(1), pod(2), NEVER], nodes=dead))
    assert error.value.reason == "nodes_live"


@pytest.mark.parametrize("late", [False, True])
def test_whoever_waits_for_a_pod_to_end_says_what_holds_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """On a machine that is off a pod is Terminating for ever, and nobody but a person may say so."""
    for module in (members, remove):
        monkeypatch.setattr(module, "time", clock)
    ctx, client = ground(live(4, pods=[pod(3, ready=False, deleting=True)]), clock)
    clock.now += 2e8 if late else 0  # far behind the pod's deletionTimestamp
    found = members._gone(ctx, "kw-3")
    assert ("Kubernetes node w4" in found.why) is late and not found.done
    monkeypatch.setattr(remove, "_end_pods", lambda _ctx: None)
    monkeypatch.setattr(ctx, "wait", lambda judge, *_rest, **_how: said.append(judge()))
    said: list[verdict.Verdict] = []
    remove.pods(ctx, Step("remove/pods", ""))
    assert ("Kubernetes node w4" in said[0].why) is late and not said[0].done
    client.objects.pop(("Pod", "kw-3"))
    remove.pods(ctx, Step("remove/pods", ""))
    assert members._gone(ctx, "kw-3").done and said[1].done


def test_a_scale_in_does_not_end_pods_that_appeared_meanwhile(clock: Clock) -> None:
    """Five to three; after kw-4 has gone somebody makes it seven, and kw-3 is next."""
    seen = live(7)
    ctx, client = ground(seen, clock, replicas=3)
    ctx.known, ctx.engine = deep(whole_for=20, apart=15), Engine()  # type: ignore[assignment]
    with pytest.raises(ClusterError, match="kw-4, kw-5, kw-6 would go") as error:
        members.scale_in(ctx, Step("scale_in/kw-3", "", "scale_in", pod="kw-3", facts={"ordinal": 3}))
    assert (error.value.reason, error.value.facts["resumable"]) == ("scaled_meanwhile", True)
    assert client.sent == [], "before anything"


@pytest.mark.parametrize(("size", "after"), [(7, 7), (2, 2), (4, 3)])
def test_the_size_is_looked_at_again_before_it_is_written(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, size: int, after: int
) -> None:
    """A decommission takes long enough for somebody to scale in the middle of it."""
    monkeypatch.setattr(members, "decommission", lambda _ctx, _step, _node: scaled(size))
    monkeypatch.setattr(gates, "emptied", lambda *_args: [])
    ctx, client = ground(live(4), clock, **DELETE)

    def scaled(count: int) -> None:
        client.objects["StatefulSet", "kw"]["spec"]["replicas"] = count

    def follow() -> None:
        if client.objects["StatefulSet", "kw"]["spec"]["replicas"] <= 3:
            client.objects.pop(("Pod", "kw-3"), None)

    client.on_watch = follow
    step = Step("scale_in/kw-3", "", "scale_in", pod="kw-3", facts={"ordinal": 3})
    if size == 7:
        with pytest.raises(ClusterError, match=r"node 4 \(kw-3\) is empty and still leaving") as error:
            members.scale_in(ctx, step)
        assert error.value.reason == "scaled_meanwhile"
    else:
        members.scale_in(ctx, step)
    assert client.objects["StatefulSet", "kw"]["spec"]["replicas"] == after


@pytest.mark.parametrize(("when", "before"), [("in a pause", [[4]]), ("while its gates were asked", [])])
def test_a_run_that_lost_its_lock_orders_and_writes_nothing_more(
    clock: Clock, when: str, before: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machine slept; meanwhile another run has put the node back and written so."""
    seen = live(4, journal=during("scale_in", "scale_in/kw-3"))
    ctx, client = ground(seen, clock)
    ctx.known = deep(whole_for=20, apart=15, stores=[store(number) for number in range(1, 5)])
    ordered: list[list[int]] = []
    judged = members._judged

    class Asked(Engine):
        def decommission(self, ids: list[int], **how: Any) -> Any:
            ordered.append(ids)
            return super().decommission(ids, **how)

    def taken(*args: Any) -> Any:
        ctx.lost = lambda: "bob/2"
        return judged(*args) if args else None

    ctx.engine = Asked()  # type: ignore[assignment]
    if before:
        client.on_watch = taken
    else:
        monkeypatch.setattr(members, "_judged", taken)
    step = Step("scale_in/kw-3", "", "scale_in", pod="kw-3", facts={"ordinal": 3})
    with pytest.raises(ClusterError) as error:
        members.decommission(ctx, step, 4)
    assert error.value.reason == "lock_lost" and ordered == before
    assert not [name for verb, _kind, name in client.sent if verb in ("apply", "patch")]


# ---- several that leave

ON_KW_3 = Deep(ranges(), (), tuple(store(number) for number in range(1, 6)), (Constraint("TABLE t", ("region=d",), 1),))


def regions(count: int = 5) -> Observed:
    return live(count, nodes=[row(number + 1, number, locality=f"region={'abcde'[number]}") for number in range(count)])


@pytest.mark.parametrize(
    ("replicas", "ordinal", "holds"),
    [(3, 4, False), (3, 3, False), (4, 4, True)],
)
def test_a_run_that_would_stop_half_way_does_not_begin(clock: Clock, replicas: int, ordinal: int, holds: bool) -> None:
    """Five to three, and a zone needs kw-3: kw-4 stays too; alone it goes."""
    ctx, client = ground(regions(), clock, replicas=replicas)
    ctx.known, ctx.engine = replace(ON_KW_3, whole_for=15.0, apart=15.0), Engine()  # type: ignore[assignment]
    step = Step(f"scale_in/kw-{ordinal}", "", "scale_in", pod=f"kw-{ordinal}", facts={"ordinal": ordinal})
    refused = [gate.name for gate in gates.failed(members.before(ctx, step))]
    assert refused == ([] if holds else ["zone_constraints"])
    if not holds and ordinal == 4:  # the other one's turn comes when kw-4 has gone
        with pytest.raises(ClusterError) as error:
            members.scale_in(ctx, step)
        assert error.value.reason == "zone_constraints" and {verb for verb, *_what in client.sent} <= {"list"}
    other = Step("decommission/5", "", "scale_in", pod="kw-4", facts={"id": 5})
    assert gates.failed(members.before(ctx, other)) == [], "it asks for one node, whatever another run was to take away"


# ---- nodes that come back

FIVE_TO_THREE = replace(during("scale_in", "scale_in/kw-4"), leaving={"pods": ["kw-3", "kw-4"], "replicas": 3})


class Engine:
    """Counts down, or does not; and takes nodes back."""

    def __init__(self, left: int = 7) -> None:
        self.left, self.back = left, list[int]()

    def decommission(self, _ids: list[int], **_how: Any) -> Any:
        return SimpleNamespace(replicas=self.left, done=False)

    def cluster_id(self, _pod: str) -> str:
        return ID

    def recommission(self, ids: list[int]) -> None:
        self.back += ids

    def sql_rows(self, _statement: str) -> list[Any]:
        return []


def node_run(client: World, node: str, state: str) -> NodeRun:
    return NodeRun(client, {"name": "kw", "namespace": "db"}, node=node, state=state, run_id="r1", who="ann")


def five(marked: bool = True) -> Observed:
    rows = [row(number + 1, number) for number in range(4)]
    return live(5, nodes=[*rows, row(5, 4, is_decommissioning=marked)], journal=FIVE_TO_THREE)


@pytest.mark.parametrize(("marked", "step"), [(True, "recommission/5"), (False, "close")])
def test_a_node_that_is_put_back_is_not_sent_away_again_by_the_next_run(clock: Clock, marked: bool, step: str) -> None:
    """Also when the run that put it back was killed before it could write so."""
    ctx, client = ground(five(marked), clock)
    ctx.engine = Engine()  # type: ignore[assignment]
    doer = node_run(client, "kw-4", "active")
    found = ctx.seen.node_of("kw-4")
    assert found is not None
    planned = doer._plan_for(ctx, found)
    assert ids(planned) == [step]
    doer._act(ctx, planned, found)
    assert ctx.seen.journal.leaving == {} and ctx.seen.journal.operation == {}
    after = replace(live(5), journal=Journal.read(client.objects["ConfigMap", "kw-journal"]))
    assert not [step for step in ids(plan(after)) if step.startswith("scale_in")]


@pytest.mark.parametrize("replaced", [False, True])
def test_the_store_of_a_node_that_is_put_back_is_no_longer_marked(clock: Clock, replaced: bool) -> None:
    """A member's store must not be given up when its pod comes and goes; a replacement that is under way sees to its own mark."""
    journal = replace(JOURNAL, replacing={"kw-3": {"who": "ann"}} if replaced else {})
    kept = [claim(3, **RETIRED), volume(3, uid="claim-3", **RETIRED)]
    ctx, client = ground(live(4, extra=kept, journal=journal), clock)
    ctx.engine = Engine()  # type: ignore[assignment]
    members.recommission(ctx, Step("recommission/4", "", "scale_in", True, "kw-3", {"id": 4}))
    for key in (("PersistentVolumeClaim", "datadir-kw-3"), ("PersistentVolume", "db.kw-3")):
        assert bool(client.objects[key]["metadata"]["annotations"]["kaiwudb.kubernetes/retired"]) is replaced
    assert ctx.engine.back == [4]
    members.recommission(ctx, Step("recommission/4", "", "scale_in", True, "", {"id": 4}))  # one without a pod


HALF = during("upgrade", "upgrade/kw-1", since="09:00", **{"from": {"image": "kwdb/kwdb:3.2.0"}, "down": ["kw-4"]})


def test_an_upgrade_goes_on_as_it_was_once_a_dead_node_has_left(clock: Clock) -> None:
    rows = [row(number + 1, number) for number in range(4)]
    seen = live(5, nodes=[*rows, row(5, 4, is_live=False, is_available=False)], journal=HALF)
    ctx, client = ground(seen, clock)
    ctx.known = deep(whole_for=20, apart=15, stores=[store(number) for number in range(1, 5)])
    during_it: list[Journal] = []

    class Quick(Engine):
        def decommission(self, _ids: list[int], **_how: Any) -> Any:
            during_it.append(Journal.read(client.objects["ConfigMap", "kw-journal"]))
            return SimpleNamespace(replicas=0, done=True)

    ctx.engine = Quick()  # type: ignore[assignment]
    doer = node_run(client, "id=5", "decommissioned")
    found = ctx.seen.node_of("kw-4")
    assert found is not None
    planned = doer._plan_for(ctx, found)
    assert ids(planned) == ["decommission/5"]
    doer._act(ctx, planned, found)
    assert during_it[0].operation["name"] == "decommission" and during_it[0].operation["within"] == HALF.operation
    known = Journal.read(client.objects["ConfigMap", "kw-journal"])
    assert known.operation == HALF.operation and [item["name"] for item in known.history] == ["decommission"]


def test_nor_does_an_upgrade_lose_it_that_begins_before_the_node_has_left(clock: Clock) -> None:
    """The decommission was killed, and the node came back by itself."""
    seen = live(journal=HALF.within("decommission", "bob", "10:00", step="decommission/5", node=5))
    ctx, client = ground(seen, clock)
    run = Run(client, {"name": "kw", "namespace": "db"}, who="ann", run_id="r2")  # type: ignore[arg-type]
    step = Step("upgrade/kw-0", "", "upgrade", pod="kw-0", facts={"ordinal": 0})
    run._note(ctx, Plan("x", (step,)), step)
    known = ctx.seen.journal
    assert known.operation["from"] == HALF.operation["from"] and known.operation["since"] == "09:00"
    assert [item["name"] for item in known.history] == ["decommission"]


def test_a_node_that_stays_settled_needs_nothing_written(clock: Clock) -> None:
    ctx, client = ground(live(), clock)
    found = ctx.seen.node_of("kw-2")
    assert found is not None and node_run(client, "kw-2", "active")._plan_for(ctx, found).steps == ()


def test_a_stalled_scale_in_that_is_put_back_is_over(clock: Clock) -> None:
    ctx, client = ground(five(), clock, on_failure="rollback")
    ctx.engine, ctx.known = Engine(), deep()  # type: ignore[assignment]
    error = members._stalled(ctx, Step("scale_in/kw-4", "", pod="kw-4"), 5, 7, 60.0)
    assert error.facts["undone"] and ctx.engine.back == [5] and ctx.seen.journal.leaving == {}
    after = replace(live(5), journal=Journal.read(client.objects["ConfigMap", "kw-journal"]))
    assert ids(plan(after)) == []


FOUR_TO_THREE = replace(during("scale_in", "scale_in/kw-3"), leaving={"pods": ["kw-3"], "replicas": 3})


def called_off(clock: Clock, seen: Observed) -> tuple[Journal, World]:
    """What the journal says after a run that asked for four again in the middle of 4 → 3."""
    ctx, client = ground(seen, clock, replicas=4)
    close(ctx, Step("close", ""))
    return Journal.read(client.objects["ConfigMap", "kw-journal"]), client


@pytest.mark.parametrize(
    "seen",
    [
        silent(live(4, journal=FOUR_TO_THREE)),
        live(4, journal=FOUR_TO_THREE, nodes=[*THREE, row(4, 3, is_decommissioning=True)]),
        live(4, journal=FOUR_TO_THREE, nodes=THREE),
    ],
)
def test_one_wanted_again_is_put_back_as_soon_as_the_engine_answers(clock: Clock, seen: Observed) -> None:
    """Forgotten while the engine is silent, it would stay marked for ever; and a plain run goes on with the last wish, not the first."""
    known, _client = called_off(clock, seen)
    assert known.leaving == {"pods": ["kw-3"], "replicas": 4} and known.operation == {}
    answering = live(4, journal=known, nodes=[*THREE, row(4, 3, is_decommissioning=True)])
    assert ids(plan(answering)) == ["recommission/kw-3"]


@pytest.mark.parametrize("seen", [live(4, journal=FOUR_TO_THREE), live(3, journal=FOUR_TO_THREE)])
def test_one_that_is_known_to_stay_or_gone_is_forgotten(clock: Clock, seen: Observed) -> None:
    assert called_off(clock, seen)[0].leaving == {}


# ---- a cluster on stores that were there before


@pytest.mark.parametrize("ordered", [False, True])
def test_a_store_whose_node_had_left_is_not_written_down_as_healthy(clock: Clock, ordered: bool) -> None:
    """Its pod is Ready and its node live, but decommissioned; unless it is leaving by our own order."""
    known = Journal(leaving={"pods": ["kw-3"], "replicas": 3} if ordered else {})
    ctx, client = ground(live(4, journal=known, nodes=[*THREE, row(4, 3, is_decommissioning=True)]), clock)
    ctx.engine = Engine()  # type: ignore[assignment]
    if ordered:
        initialize.remember(ctx, Step("remember", ""))
        assert ctx.seen.journal.initialized and ctx.seen.journal.cluster_id == ID
        return
    with pytest.raises(ClusterError) as error:
        initialize.remember(ctx, Step("remember", ""))
    assert (error.value.reason, error.value.facts["node"], error.value.facts["resumable"]) == (
        "store_retired",
        "kw-3",
        False,
    )
    assert not [sent for sent in client.sent if sent[0] in ("apply", "patch")]


# ---- one node, under the lock


def meanwhile(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, seen: Observed, rows: Any, *more: Any
) -> tuple[World, Callable[[str, str], Any]]:
    """A run on one node that looks at C(seen), and finds C(more) and these rows once it has the lock."""
    ctx, client = ground(seen, clock)
    ctx.engine, ctx.known = Engine(left=0), deep()  # type: ignore[assignment]
    monkeypatch.setattr(lock, "time", clock)

    def take(self: lock.Lock, *_rest: Any) -> None:
        ctx.rows = rows
        for item in more:
            client.put(item)

    monkeypatch.setattr(lock.Lock, "take", take)
    monkeypatch.setattr(NodeRun, "_context", lambda _self: ctx)
    return client, lambda node, state: node_run(client, node, state).slice()


def test_what_another_run_wrote_before_the_lock_is_not_undone(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = replace(JOURNAL, unfinalized={"version": "20.1-3", "image": "x", "since": "10:00", "who": "bob"})
    marked = [*THREE, row(4, 3, is_decommissioning=True)]
    kept = manifests.configmap(NAMES, newer.data())
    client, run = meanwhile(clock, monkeypatch, live(4, nodes=marked), marked, kept)
    assert run("kw-3", "active")["steps"] == ["recommission/4"]
    assert Journal.read(client.objects["ConfigMap", "kw-journal"]).unfinalized == newer.unfinalized


def test_what_another_run_has_done_before_the_lock_is_not_done_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = [*THREE, row(4, 3, is_decommissioning=True)]
    client, run = meanwhile(clock, monkeypatch, live(4, nodes=marked), [*THREE, row(4, 3)])
    found = run("kw-3", "active")
    assert found["steps"] == [] and not found["changed"]
    assert not [sent for sent in client.sent if sent[0] in ("apply", "patch", "create")]


def test_a_cluster_that_was_paused_before_the_lock_is_left_alone(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = [*THREE, row(4, 3, is_decommissioning=True)]
    paused = statefulset(spec(replicas=4))
    paused["metadata"]["annotations"]["kaiwudb.kubernetes/paused"] = "by bob"
    client, run = meanwhile(clock, monkeypatch, live(4, nodes=marked), marked, paused)
    with pytest.raises(ClusterError) as error:
        run("kw-3", "active")
    assert error.value.reason == "paused"
    assert not [sent for sent in client.sent if sent[0] in ("apply", "patch", "create")]


# ---- one node, in slices


def test_a_node_that_leaves_in_slices_has_one_time_in_the_history(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each slice looks anew; the last one finds that the step is over, and only has to close."""
    for module in (run_module, members, lock):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(members, "_stall_limit", lambda _ctx: 300.0)
    ctx, client = ground(live(4, nodes=[*THREE, row(4, 3, is_decommissioning=True)]), clock)
    ctx.engine, ctx.known = Engine(left=5), deep()  # type: ignore[assignment]
    ctx.deadline = clock.now + 20
    doer = node_run(client, "kw-3", "decommissioned")
    monkeypatch.setattr(doer, "_context", lambda: ctx)
    assert doer.slice()["in_progress"]
    ctx.rows = [*THREE, row(4, 3, is_decommissioning=True, gossiped_replicas=0)]
    ctx.look()
    clock.now += 10
    last = node_run(client, "kw-3", "decommissioned")
    monkeypatch.setattr(last, "_context", lambda: ctx)
    found = last.slice()
    assert found["steps"] == ["decommission/4", "close"] and not found["in_progress"]
    (ended,) = Journal.read(client.objects["ConfigMap", "kw-journal"]).history
    (step,) = ended["steps"]
    assert step["step"] == "decommission/4" and 30 <= step["seconds"] <= 32
    assert ended["outcome"] == "done" and 30 <= ended["took"] <= 32 and "at_step" not in ended


def test_a_node_that_is_put_back_has_its_time_in_the_history(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "time", clock)
    marked = [*THREE, row(4, 3, is_decommissioning=True)]
    client, run = meanwhile(clock, monkeypatch, live(4, nodes=marked), marked)
    run("kw-3", "active")
    (ended,) = Journal.read(client.objects["ConfigMap", "kw-journal"]).history
    assert [item["step"] for item in ended["steps"]] == ["recommission/4"]


def test_a_job_relaunched_for_ever_finds_the_stall(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks for less than the limit; what it saw stand still is in the journal. Who runs again after that has the whole time."""
    monkeypatch.setattr(members, "time", clock)
    monkeypatch.setattr(members, "_stall_limit", lambda _ctx: 300.0)
    seen = five()
    step = Step("scale_in/kw-4", "", "scale_in", pod="kw-4")

    def relaunched(number: int, seen: Observed) -> tuple[str, Observed]:
        ctx, _client = ground(seen, clock)
        ctx.run_id, ctx.deadline = f"r{number}", clock.now + 90
        ctx.engine, ctx.known = Engine(), deep()  # type: ignore[assignment]
        try:
            members.decommission(ctx, step, 5)
        except context.Paused:
            return "paused", ctx.seen
        except ClusterError as error:
            return error.reason, ctx.seen
        raise AssertionError("it ended")

    told = []
    for number in range(6):
        reason, seen = relaunched(number, seen)
        told.append(reason)
        clock.now += 1e5  # nobody looks meanwhile
    assert told == ["paused", "paused", "paused", "stalled", "paused", "paused"]
