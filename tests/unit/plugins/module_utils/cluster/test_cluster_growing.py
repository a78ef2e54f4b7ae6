# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Volumes that become larger: by the storage class, by another claim on the same volume, by a fresh volume; and after a kill anywhere."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import growing, observe
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.context import Context
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.manifests import configmap
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations import grow, members, volumes
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.present import present
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.run import Run
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.verdict import DONE
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.errors import EngineError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    JOURNAL,
    NAMES,
    NEW,
    REQUIRED,
    claim,
    during,
    ids,
    live,
    observed,
    plan,
    pod,
    row,
    spec,
    spec_over,
    stamped,
    statefulset,
    volume,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock

PVC, PV, STS = "PersistentVolumeClaim", "PersistentVolume", "StatefulSet"
DYNAMIC = {"storage": "dynamic"}
GROW = {"storage_size": "20Gi"}


def sized(ordinal: int, size: str = "10Gi", *, going: bool = False, **status: Any) -> Any:
    made = claim(ordinal, **stamped(ordinal))
    made["metadata"]["uid"] = f"claim-{ordinal}"
    made["spec"] = {
        "resources": {"requests": {"storage": size}},
        "storageClassName": "fast",
        "volumeName": f"db.kw-{ordinal}",
    }
    made["status"] = {"phase": "Bound", "capacity": {"storage": size}, **status}
    if going:
        made["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"
    return made


def cluster(*extra: Any, of: dict[str, Any] | None = None, **more: Any) -> Any:
    return live(of=spec(**(of or {})), extra=[*(sized(number) for number in range(3)), *extra], **more)


def grown(seen: Any, expands: bool = True, **asked: Any) -> Any:
    return present(spec_over(seen, **asked), seen, PROFILES["kwdb"], kube_nodes=None, expands=expands)


# ---- the plan


def test_local_volumes_get_other_claims_one_by_one() -> None:
    found = plan(cluster(), **GROW)
    assert ids(found) == ["template/kw", "rebind/kw-2", "rebind/kw-1", "rebind/kw-0"]
    assert [step.disruptive for step in found.steps] == [False, True, True, True] and all(
        step.asked for step in found.steps
    )
    assert found.steps[1].title == "10Gi → 20Gi, by a new claim on the same volume and data"
    assert found.changes["StatefulSet/kw storage_size"] == ("10Gi", "20Gi")
    assert found.changes["PersistentVolumeClaim/datadir-kw-1 storage"] == ("10Gi", "20Gi")
    with pytest.raises(ClusterError, match="template/kw is asked for, but this run may only upgrade"):
        plan(cluster(), **GROW, operations=["upgrade"])


def test_a_class_that_expands_restarts_nobody() -> None:
    found = grown(cluster(of=DYNAMIC), **GROW)
    assert ids(found) == ["template/kw", "expand/kw"]
    assert found.steps[1].title == "10Gi → 20Gi, 3 claims, expanded by their storage class" and found.steps[1].asked
    assert found.changes["PersistentVolumeClaim/datadir-kw-1 storage"] == ("10Gi", "20Gi")
    assert not any(step.disruptive for step in found.steps)


def test_an_expansion_that_was_begun_is_waited_for_by_the_next_slice() -> None:
    bigger = {**DYNAMIC, **GROW}

    def found(**status: Any) -> list[str]:
        return ids(
            grown(live(of=spec(**bigger), extra=[sized(0, "20Gi"), sized(1, "20Gi", **status), sized(2, "20Gi")]))
        )

    small: dict[str, Any] = {"capacity": {"storage": "10Gi"}}
    assert found(**small) == ["expand/kw"] and found() == []
    assert found(**small, conditions=[{"type": "FileSystemResizePending", "status": "True"}]) == [], (
        "only its pod can end that"
    )
    assert found(capacity={}) == [], "not bound yet"


def test_an_expansion_is_seen_through_whatever_has_grown_meanwhile() -> None:
    """The slice that ended, or the run that was killed, has not said yet which file systems wait for their pods."""
    grown_all = live(of=spec(**DYNAMIC, **GROW), extra=[sized(number, "20Gi") for number in range(3)])
    found = grown(replace(grown_all, journal=during("reconfigure", "expand/kw", image=spec().image)))
    assert ids(found) == ["expand/kw"] and not found.steps[0].pod and not found.steps[0].facts
    assert ids(grown(replace(grown_all, journal=during("reconfigure", "expand/kw-1", image=spec().image)))) == ["close"]


def test_a_class_that_does_not_gives_fresh_volumes_in_turn() -> None:
    found = grown(cluster(of=DYNAMIC), expands=False, **GROW)
    assert ids(found) == ["template/kw", "renew/kw-2", "renew/kw-1", "renew/kw-0"]
    assert all(step.disruptive and step.pod for step in found.steps[1:])


def test_the_same_size_in_other_words_is_none() -> None:
    assert [
        name for name in ids(plan(cluster(), storage_size="10240Mi")) if "template" in name or "rebind" in name
    ] == []


def test_without_being_asked_again_it_goes_on() -> None:
    """The StatefulSet's own note says the new size: a run that was killed is continued by any other."""
    bigger = spec(**GROW)
    seen = live(of=bigger, extra=[sized(0, "20Gi"), sized(1), sized(2, "20Gi")])
    assert ids(plan(seen)) == ["rebind/kw-1"] and not plan(seen).steps[0].asked
    assert ids(plan(live(of=bigger, extra=[sized(number, "20Gi") for number in range(3)]))) == []


def test_a_claim_that_gives_way_is_brought_to_its_successor() -> None:
    seen = live(of=spec(**GROW), extra=[sized(0, "20Gi"), sized(1, going=True), sized(2, "20Gi")])
    assert ids(plan(seen)) == ["reclaim/kw-1"]
    killed = replace(seen, journal=during("reconfigure", "rebind/kw-1", image=spec().image))
    found = plan(killed)
    assert ids(found) == ["reclaim/kw-1", "rebind/kw-1"] and found.steps[1].operation == "reconfigure"


def test_a_successor_that_is_not_up_yet_is_seen_through() -> None:
    pods = [pod(0), pod(1, ready=False), pod(2)]
    seen = live(
        of=spec(**GROW),
        pods=pods,
        extra=[sized(number, "20Gi") for number in range(3)],
        journal=during("reconfigure", "renew/kw-1"),
    )
    assert ids(plan(seen)) == ["renew/kw-1"]


def test_only_nodes_that_stay_grow() -> None:
    four = live(4, extra=[sized(number) for number in range(4)])
    assert ids(plan(four, **GROW, replicas=3)) == [
        "template/kw",
        "rebind/kw-2",
        "rebind/kw-1",
        "rebind/kw-0",
        "scale_in/kw-3",
    ]


def test_what_else_is_asked_for_is_not_noted_before_it_is_done() -> None:
    seen = cluster()
    note = json.loads(growing.grown_note(seen, "20Gi"))
    assert note == {**seen.noted, "storage_size": "20Gi"}
    both = plan(seen, **GROW, cache="2GiB")
    assert [name for name in ids(both) if name.startswith("reconfigure/")], "the cache is rolled out all the same"
    assert "repair/StatefulSet/kw" not in ids(plan(seen, **GROW))
    assert "repair/StatefulSet/kw" in ids(plan(seen, **GROW, ui="nodeport"))


def test_a_kept_volume_that_is_too_small_is_made_larger_for_its_new_claim() -> None:
    kept = [volume(number, uid=f"old-{number}") for number in range(3)]
    found = present(spec(**GROW), observed(*kept), PROFILES["kwdb"], kube_nodes=[])
    assert "free/kw-0" in ids(found)
    assert next(step for step in found.steps if step.id == "free/kw-0").title.endswith(", now of 20Gi")
    blank = present(spec(**GROW), observed(*(volume(number) for number in range(3))), PROFILES["kwdb"], kube_nodes=[])
    assert "free/kw-0" in ids(blank), "one that was handed out beforehand, too"
    assert "free/kw-0" not in ids(
        present(spec(), observed(*(volume(number) for number in range(3))), PROFILES["kwdb"], kube_nodes=[])
    )


# ---- the StatefulSet, made again


def test_made_again_it_is_what_lives_but_for_its_claims() -> None:
    alive = statefulset(spec())
    alive["metadata"]["annotations"]["of/others"] = "kept"
    alive["metadata"]["managedFields"] = [{"manager": "x"}]
    alive["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"  # a default of the server, part of the revision
    alive["spec"]["volumeClaimTemplates"][0]["status"] = {"phase": "Pending"}
    before = copy.deepcopy(alive)
    made = growing.again(alive, "20Gi", "the note")
    assert alive == before
    assert made["spec"]["template"] == alive["spec"]["template"]
    assert growing.template_size(made) == "20Gi" and "status" not in made["spec"]["volumeClaimTemplates"][0]
    assert made["metadata"]["annotations"] == {"of/others": "kept", "kaiwudb.kubernetes/options": "the note"}
    assert set(made) == {"apiVersion", "kind", "metadata", "spec"} and set(made["metadata"]) == {
        "name",
        "namespace",
        "labels",
        "annotations",
    }
    assert made["spec"]["updateStrategy"]["rollingUpdate"]["partition"] == 3, "restarts nothing"


class Engine:
    """Answers nothing but the ids of stores."""

    def node_status(self, **_how: Any) -> Any:
        return [row(number + 1, number) for number in range(3)]

    def sql_rows(self, _statement: str) -> list[Any]:
        return []

    def node_id(self, _pod: str) -> int:
        raise EngineError("cut", "no answer")


class Killed(Exception):
    """The run ends here."""


class Server(Client):
    """With a StatefulSet controller that sees what is applied. revision: of the template. after: writes, then the run is killed."""

    def __init__(self, *objects: Any, revision: str = "r1", after: int | None = None) -> None:
        super().__init__(Clock(), *objects)
        self.revision, self.after, self.writes = revision, after, 0

    def _sent(self, verb: str, kind: str, name: str) -> None:
        super()._sent(verb, kind, name)
        if verb in ("create", "patch", "delete", "apply"):
            self.writes += 1
            if self.after is not None and self.writes > self.after:
                raise Killed

    def apply(self, obj: Any, *, dry_run: bool = False) -> Any:
        made = copy.deepcopy(obj)
        if made["kind"] == STS:
            made["metadata"].update(uid="sts-2", generation=1)
            made["status"] = {"observedGeneration": 1, "updateRevision": self.revision}
        return super().apply(made, dry_run=dry_run)

    def list(self, kind: str, namespace: str | None = None, **how: Any) -> tuple[Any, str]:
        found, version = super().list(kind, namespace, **how)
        return [item for item in found if item["metadata"].get("labels")], version


def server(*more: Any, journal: Journal = JOURNAL, of: dict[str, Any] | None = None, **how: Any) -> Server:
    seen = cluster(of=of)
    things = [item for found in seen.objects.values() for item in found.values()]
    kept = {
        (item["kind"], item["metadata"]["name"]): item for item in [*things, configmap(NAMES, journal.data()), *more]
    }
    space = {"kind": "Namespace", "metadata": {"name": "db"}}
    return Server(space, *copy.deepcopy(list(kept.values())), **how)


def context(client: Server, **asked: Any) -> Context:
    ctx = Context(client, spec(**{**GROW, **asked}), PROFILES["kwdb"], "ann", run_id="r1")  # type: ignore[arg-type]
    ctx.engine = Engine()  # type: ignore[assignment]
    ctx.look()
    return ctx


TEMPLATE = Step("template/kw", "", "reconfigure")


def test_the_template_follows_and_no_pod_is_touched() -> None:
    client = server()
    ctx = context(client)
    volumes_before = {key: item for key, item in client.objects.items() if key[0] in ("Pod", PVC, PV)}
    grow.claim_template(ctx, TEMPLATE)
    alive = client.objects[STS, "kw"]
    assert (
        growing.template_size(alive) == "20Gi" and alive["spec"]["template"] == statefulset(spec())["spec"]["template"]
    )
    assert alive["spec"]["updateStrategy"]["rollingUpdate"]["partition"] == 0
    assert {key: item for key, item in client.objects.items() if key[0] in ("Pod", PVC, PV)} == volumes_before
    assert (
        not ctx.seen.journal.recreate
        and json.loads(alive["metadata"]["annotations"]["kaiwudb.kubernetes/options"])["storage_size"] == "20Gi"
    )
    order = [(verb, kind) for verb, kind, _name in client.sent if verb in ("apply", "patch", "delete")]
    assert order[:3] == [("apply", "ConfigMap"), ("delete", STS), ("apply", STS)], (
        "what is to be made is known before the old one goes"
    )


def test_should_the_revision_be_another_nothing_rolls_by_itself() -> None:
    client = server(revision="r2")
    grow.claim_template(context(client), TEMPLATE)
    assert client.objects[STS, "kw"]["spec"]["updateStrategy"]["rollingUpdate"]["partition"] == 3


def test_killed_after_any_write_the_next_run_makes_it_whole() -> None:
    """Whatever that run asks for: the size need not be said again."""
    whole = server()
    grow.claim_template(context(whole), TEMPLATE)
    assert whole.writes == 5
    for after in range(whole.writes):
        client = server(after=after)
        with pytest.raises(Killed):
            grow.claim_template(context(client), TEMPLATE)
        client.after = None
        seen = observe.look_at_objects(client, NAMES)  # type: ignore[arg-type]
        seen = replace(seen, nodes=tuple(row(number + 1, number) for number in range(3)))
        assert seen.replicas == 3 and seen.image == spec().image, "it counts as there"
        asked = {} if after > 1 else GROW
        wanted = spec_over(seen, **asked)
        assert wanted.storage_size == "20Gi" and wanted.replicas == 3
        planned = present(wanted, seen, PROFILES["kwdb"], kube_nodes=None)
        assert ids(planned)[0] == "template/kw" and "create/StatefulSet/kw" not in ids(planned)
        assert not [name for name in ids(planned) if name.startswith(("upgrade", "reconfigure"))], "nothing else rolls"
        ctx = context(client)
        grow.claim_template(ctx, TEMPLATE)
        assert client.objects[STS, "kw"]["spec"] == whole.objects[STS, "kw"]["spec"] and not ctx.seen.journal.recreate


def test_another_size_than_the_killed_runs_is_reached_in_one_go() -> None:
    client = server(after=2)
    with pytest.raises(Killed):
        grow.claim_template(context(client), TEMPLATE)
    client.after = None
    assert (STS, "kw") not in client.objects
    grow.claim_template(context(client, storage_size="30Gi"), TEMPLATE)
    assert growing.template_size(client.objects[STS, "kw"]) == "30Gi"


def test_a_note_of_nonsense_is_none() -> None:
    for recreate in ({"spec": {}}, {"metadata": {}}, {"spec": 1, "metadata": {}}, "x"):
        assert Journal.read({"data": {"journal": json.dumps({"recreate": recreate})}}).recreate == {}
    kept = replace(JOURNAL, recreate={"metadata": {"name": "kw"}, "spec": {}})
    assert Journal.read({"data": kept.data()}) == kept


# ---- by the storage class


@pytest.mark.parametrize(
    ("status", "done", "never"),
    [
        ({"capacity": {"storage": "20Gi"}}, True, ""), ({"capacity": {"storage": "21Gi"}}, True, ""),
        ({"capacity": {"storage": "10Gi"}}, False, ""), ({}, False, ""),
        ({"conditions": [{"type": "Resizing", "status": "True"}]}, False, ""),
        ({"conditions": [{"type": "FileSystemResizePending", "status": "True"}]}, False, ""),
        ({"conditions": [{"type": "ControllerResizeError", "status": "True", "message": "quota"}]}, False, "resize_failed"),
        ({"conditions": [{"type": "ControllerResizeError", "status": "False"}]}, False, ""),
        ({"conditions": [{"type": "NodeResizeError", "status": "True"}]}, False, "resize_failed"),
        ({"allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"}}, False, "resize_failed"),
        ({"allocatedResourceStatuses": {"storage": "NodeResizePending"}}, False, ""),
        ({"allocatedResourceStatuses": {"storage": "NodeResizeInfeasible"}}, False, "resize_failed"),
    ],
)  # fmt: skip
def test_when_a_claim_has_grown(status: dict[str, Any], done: bool, never: str) -> None:
    made = {**sized(0), "status": status}
    found = growing.expanded(made, "20Gi", lambda _holds: 0.0)
    assert (found.done, found.never) == (done, never)
    assert growing.expanded(None, "20Gi", lambda _holds: 0.0).done is False


def test_a_file_system_that_waits_for_the_pod_is_not_waited_for_long() -> None:
    told: list[bool] = []
    made = sized(0, conditions=[{"type": "FileSystemResizePending", "status": "True"}])
    assert growing.expanded(made, "20Gi", lambda holds: told.append(holds) or 31.0) == DONE and told == [True]  # type: ignore[func-returns-value]


def test_why_it_can_never_be_stands_beside_that_it_cannot() -> None:
    """The resizer says both; what is certain is believed sooner than what is tried again."""
    failed = {"conditions": [{"type": "ControllerResizeError", "status": "True", "message": "no disk is that large"}]}
    infeasible = {**failed, "allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"}}
    tried, never = (
        growing.expanded({**sized(0), "status": status}, "20Gi", lambda _holds: 0.0) for status in (failed, infeasible)
    )
    assert tried.why == "claim datadir-kw-0 cannot be resized: no disk is that large"
    assert never.why == "claim datadir-kw-0 can never grow to 20Gi (ControllerResizeInfeasible): no disk is that large"
    assert never.patience < tried.patience


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({}, "the driver of its storage class has not begun to resize it to 20Gi"),
        ({"conditions": [{"type": "Resizing", "status": "True"}]}, "is being resized"),
        ({"allocatedResourceStatuses": {"storage": "ControllerResizeInProgress"}}, "is being resized"),
        ({"conditions": [{"type": "FileSystemResizePending", "status": "True"}]}, "its file system grows when the pod is started again, or soon"),
    ],
)  # fmt: skip
def test_what_is_waited_for(status: dict[str, Any], why: str) -> None:
    found = growing.expanded({**sized(0), "status": status}, "20Gi", lambda _holds: 0.0)
    assert found.why == f"claim datadir-kw-0: {why}"


EXPAND = Step("expand/kw", "", "reconfigure")


def expanding(**status: Any) -> tuple[Context, Server]:
    client = server(of=DYNAMIC)

    def grows() -> None:
        for number in range(3):
            item = client.objects[PVC, f"datadir-kw-{number}"]
            item["status"] = status or {"capacity": dict(item["spec"]["resources"]["requests"])}

    client.on_watch = grows
    return context(client, **DYNAMIC), client


def test_claims_are_expanded_all_at_once() -> None:
    ctx, client = expanding()
    grow.expand(ctx, EXPAND)
    assert [growing.requested(client.objects[PVC, f"datadir-kw-{number}"]) for number in range(3)] == ["20Gi"] * 3
    assert ctx.lines[-1] == "3 claims of 20Gi"
    client.sent.clear()
    grow.expand(ctx, EXPAND)
    assert "patch" not in [verb for verb, _kind, _name in client.sent], "again it writes nothing"


def test_a_claim_that_is_not_bound_is_not_waited_for() -> None:
    """The API server would refuse it; another run, once it is bound, finds it."""
    ctx, client = expanding()
    del client.objects[PVC, "datadir-kw-1"]["spec"]["volumeName"]
    grow.expand(ctx, EXPAND)
    assert growing.requested(client.objects[PVC, "datadir-kw-1"]) == "10Gi" and ctx.lines[-1] == "2 claims of 20Gi"


def test_which_file_systems_wait_for_their_pods_is_said_by_the_slice_that_ends_it() -> None:
    pending = [{"type": "FileSystemResizePending", "status": "True"}]
    ctx, client = expanding(capacity={"storage": "10Gi"}, conditions=pending)
    ctx.carry["lasting"] = {f"datadir-kw-{number}": 0.0 for number in range(3)}  # so an earlier slice has handed on
    client.on_watch()
    grow.expand(ctx, EXPAND)
    assert ctx.lines[-2].startswith("datadir-kw-0, datadir-kw-1, datadir-kw-2: the file system grows when the pod")


def test_what_cannot_be_resized_is_said() -> None:
    ctx, _client = expanding(allocatedResourceStatuses={"storage": "ControllerResizeInfeasible"})
    with pytest.raises(
        ClusterError, match=r"can never grow to 20Gi .*gives no reason.* runs on with the size it has"
    ) as error:
        grow.expand(ctx, EXPAND)
    assert error.value.reason == "resize_failed"


def test_whether_the_class_expands_is_asked_of_the_api_server() -> None:
    seen = cluster(of=DYNAMIC)

    def asked(*classes: Any, fail: KubeError | None = None) -> bool:
        client = Client(Clock(), *classes)
        if fail:
            client.fail["get", "StorageClass"] = fail
        return Run(client, REQUIRED, who="ann", run_id="1")._expands(seen)  # type: ignore[arg-type]

    fast: dict[str, Any] = {"kind": "StorageClass", "metadata": {"name": "fast"}, "allowVolumeExpansion": True}
    assert asked(fast)
    assert (
        not asked({**fast, "allowVolumeExpansion": False})
        and not asked({"kind": "StorageClass", "metadata": {"name": "fast"}})
        and not asked()
    )
    assert asked(fail=KubeError(403, "Forbidden", "no")), "then the API server judges the write"
    with pytest.raises(KubeError):
        asked(fail=KubeError(500, "InternalError", "no"))


# ---- by another claim on the same volume


class Gates:
    """Gates that hold, and how often they were asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, *_args: Any, **_how: Any) -> list[Any]:
        self.asked += 1
        return []


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Gates:
    made = Gates()
    for name in ("common", "scale_in", "emptied"):
        monkeypatch.setattr(grow.gates, name, made)
    monkeypatch.setattr(Context, "deep", lambda _self: None)
    return made


REBIND = Step("rebind/kw-1", "", "reconfigure", pod="kw-1", facts={"ordinal": 1})


def test_a_rebind_proves_its_gates_before_anything_goes(gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    client = server(statefulset(spec(**GROW)))
    ctx = context(client)
    order: list[str] = []
    monkeypatch.setattr(volumes, "reclaim", lambda _ctx, _step: order.append("reclaim"))
    grow.rebind(ctx, REBIND)
    assert gates.asked == 1 and order == ["reclaim"]
    writes = [(verb, name) for verb, _kind, name in client.sent if verb in ("patch", "delete")]
    assert writes == [("patch", "db.kw-1"), ("delete", "datadir-kw-1")], (
        "the volume first: the new claim must find it large enough"
    )
    assert client.objects[PV, "db.kw-1"]["spec"]["capacity"]["storage"] == "20Gi"


def test_a_volume_that_is_being_deleted_does_not_lose_its_claim(gates: Gates) -> None:
    client = server(statefulset(spec(**GROW)))
    client.objects[PV, "db.kw-1"]["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"
    with pytest.raises(ClusterError, match="Pod kw-1 was not touched") as error:
        grow.rebind(context(client), REBIND)
    assert error.value.reason == "volume_going"
    assert [verb for verb, _kind, _name in client.sent if verb in ("patch", "delete")] == []


def test_again_on_a_claim_that_is_new_it_only_waits(gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    client = server(sized(1, "20Gi"))
    ctx = context(client)
    monkeypatch.setattr(volumes, "reclaim", lambda _ctx, _step: None)
    assert volumes.before(ctx, REBIND) == [] and gates.asked == 0
    grow.rebind(ctx, REBIND)
    assert [verb for verb, _kind, _name in client.sent if verb in ("patch", "delete")] == []


def test_a_claim_taken_away_by_force_under_a_pod_that_serves_is_judged(gates: Gates) -> None:
    """The pod is ended for its successor's sake all the same."""
    client = server()
    del client.objects[PVC, "datadir-kw-1"]
    volumes.before(context(client), REBIND)
    assert gates.asked == 1


@pytest.mark.parametrize(
    ("there", "lives", "asked"),
    [
        (pod(1, ready=False), False, 0),
        (pod(1, ready=False, deleting=True), True, 0),
        (pod(1, ready=False), True, 2),  # of the database itself nobody has said that it is down
    ],
)
def test_a_pod_that_is_down_or_on_its_way_needs_no_gate(
    there: Any, lives: bool, asked: int, gates: Gates, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = server(there)
    ctx = context(client)
    rows = (row(1, 0), row(2, 1, is_live=lives), row(3, 2))
    monkeypatch.setattr(Context, "ask_engine", lambda _self: ctx.seen)
    monkeypatch.setattr(volumes, "reclaim", lambda _ctx, _step: None)
    ctx.seen = replace(ctx.seen, nodes=rows)
    volumes.before(ctx, REBIND)
    grow.rebind(ctx, REBIND)
    assert gates.asked == asked and ("delete", PVC, "datadir-kw-1") in client.sent


# ---- by a fresh volume

RENEW = Step("renew/kw-1", "", "reconfigure", pod="kw-1", facts={"ordinal": 1})


@pytest.mark.parametrize("policy", ["retain", "archive", "delete"])
def test_a_node_leaves_before_its_volume_does(policy: str, gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    provisioned = {"kind": PV, "metadata": {"name": "db.kw-1"}, "spec": {"persistentVolumeReclaimPolicy": "Delete"}}
    client = server(provisioned, of=DYNAMIC)
    ctx = context(client, **DYNAMIC, volumes=policy)
    order: list[Any] = []
    monkeypatch.setattr(members, "decommission", lambda _ctx, _step, node: order.append(node))

    def joined(_ctx: Any, _pod: str) -> Any:
        return DONE

    def comes_back() -> None:
        client.put(sized(1, "20Gi"))

    monkeypatch.setattr(members, "joined", joined)
    monkeypatch.setattr(grow.stamp, "stamp", lambda _ctx: order.append("stamp"))
    client.on_watch = comes_back
    grow.renew(ctx, RENEW)
    assert order == [2, "stamp"]
    deleted = [(kind, name) for verb, kind, name in client.sent if verb == "delete"]
    assert deleted == [(PVC, "datadir-kw-1"), ("Pod", "kw-1")]
    kept = client.objects[PV, "db.kw-1"]["spec"]["persistentVolumeReclaimPolicy"]
    assert kept == ("Retain" if policy == "archive" else "Delete")


@pytest.mark.parametrize(("nodes", "reason"), [(None, "engine_answers"), ((row(1, 0), row(3, 2)), "node_unknown")])
def test_whose_node_is_not_known_keeps_its_volume(nodes: Any, reason: str, gates: Gates) -> None:
    """The engine may fall silent between two steps: then a member looks like a pod that never had a node."""
    client = server(of=DYNAMIC)
    ctx = context(client, **DYNAMIC)
    ctx.seen = replace(ctx.seen, nodes=nodes)
    with pytest.raises(ClusterError) as error:
        grow.renew(ctx, RENEW)
    assert error.value.reason == reason and "delete" not in [verb for verb, _kind, _name in client.sent]


def test_its_gates_are_those_of_a_node_that_leaves(gates: Gates) -> None:
    ctx = context(server(of=DYNAMIC), **DYNAMIC)
    grow.before_renew(ctx, RENEW)
    assert gates.asked == 1
    new = context(server(sized(1, "20Gi"), of=DYNAMIC), **DYNAMIC)
    grow.before_renew(new, RENEW)
    assert gates.asked == 1, "none once the new claim is there"


def test_another_image_is_not_rolled_out_by_growing() -> None:
    found = plan(cluster(), **GROW, image=NEW)
    assert ids(found)[0] == "template/kw" and "upgrade/kw-2" in ids(found)
    assert (
        growing.again(statefulset(spec()), "20Gi", "x")["spec"]["template"]["spec"]["containers"][0]["image"]
        == spec().image
    )
