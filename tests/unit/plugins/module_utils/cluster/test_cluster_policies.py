# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What becomes of claims and volumes by each policy, call by call; and after a kill between any two of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import rights
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.absent import absent
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.context import Context
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError, InputError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations import remove, volumes
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    ID,
    RETIRED,
    claim,
    deep,
    ids,
    live,
    observed,
    plan,
    pod,
    ranges,
    spec,
    volume,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock

PVC, PV = "PersistentVolumeClaim", "PersistentVolume"
WIPING = {"kaiwudb.kubernetes/wiping": "2026-11-24T09:00:00Z"}
MARK = {"kaiwudb.kubernetes/fingerprint": '{"cluster_id": "' + ID + '", "node_id": 4}'}
STEP = "scale_in/kw-3"


class Killed(Exception):
    """The run ends here, whatever it was about to do."""


class Server(Client):
    """With the controllers that volumes need: claims bind to the volume that names them, short-lived pods do their work at once.

    wiped, archived: claims and directories. after: writes after which the run is killed.
    """

    def __init__(self, *objects: Any, after: int | None = None) -> None:
        super().__init__(Clock(), *objects)
        self.after, self.writes = after, 0
        self.wiped: list[str] = []
        self.did: list[tuple[str, str]] = []
        self.gone_directories: set[str] = set()
        self.on_create = self._controllers

    def _sent(self, verb: str, kind: str, name: str) -> None:
        super()._sent(verb, kind, name)
        if verb in ("create", "patch", "delete", "apply"):
            self.writes += 1
            if self.after is not None and self.writes > self.after:
                raise Killed

    def _controllers(self, obj: Any) -> Any:
        if obj["kind"] == PVC:
            obj["metadata"]["uid"] = f"made-{self.version}"
            return {**obj, "status": {"phase": "Pending"}}
        if obj["kind"] != "Pod":
            return obj
        words = obj["spec"]["containers"][0]["command"]
        claims = [
            item["persistentVolumeClaim"]["claimName"]
            for item in obj["spec"].get("volumes", ())
            if "persistentVolumeClaim" in item
        ]
        if claims:
            assert self.objects[PVC, claims[0]]["status"]["phase"] == "Bound", "the pod would wait for ever"
            assert "kaiwudb.kubernetes/wiping" in self.objects[PVC, claims[0]]["metadata"]["annotations"], (
                "not marked first"
            )
            self.wiped += claims
        else:
            self.did.append(("gone" if "mv" not in words[2] else "archive", words[4]))
        state = {"terminated": {"exitCode": 0}}
        return {**obj, "status": {"phase": "Succeeded", "containerStatuses": [{"name": "volume", "state": state}]}}

    def get(self, kind: str, name: str, namespace: str | None = None) -> Any:
        found = super().get(kind, name, namespace)
        if kind == PVC and found is not None and found.get("status", {}).get("phase") == "Pending":
            owner = self.objects.get((PV, found["spec"].get("volumeName", "")), {}).get("spec", {}).get("claimRef", {})
            if owner.get("uid") in (None, found["metadata"]["uid"]):
                self.objects[kind, name]["status"]["phase"] = "Bound"
                found["status"]["phase"] = "Bound"
        return found


def bound(ordinal: int, **notes: str) -> Any:
    made = claim(ordinal, **notes)
    made["metadata"]["uid"] = f"claim-{ordinal}"
    made["spec"] = {"volumeName": f"db.kw-{ordinal}"}
    made["status"] = {"phase": "Bound"}
    return made


def context(server: Server, seen: Any = None, **asked: Any) -> Context:
    ctx = Context(server, spec(**asked), PROFILES["kwdb"], "ann", run_id="r1")  # type: ignore[arg-type]
    ctx.seen = seen or live(
        of=spec(**asked), extra=[item for (kind, _name), item in server.objects.items() if kind in (PVC, PV)]
    )
    return ctx


def left(server: Server) -> list[str]:
    return sorted(name for kind, name in server.objects if kind in (PVC, PV))


# ---- a node leaves: local volumes


def test_retain_marks_and_frees() -> None:
    server = Server(bound(3), volume(3, uid="claim-3", **MARK))
    said = volumes.retire(context(server, volumes="retain"), 3, STEP)
    assert left(server) == ["db.kw-3"] and said == "volume db.kw-3 kept (policy retain)"
    assert set(RETIRED) | set(MARK) <= set(server.objects[PV, "db.kw-3"]["metadata"]["annotations"])
    assert server.wiped == server.did == []


def test_archive_renames_the_directory_when_no_claim_reaches_it_any_more() -> None:
    server = Server(bound(3), volume(3, uid="claim-3"))
    volumes.retire(context(server, volumes="archive"), 3, STEP)
    assert left(server) == [] and server.did == [("archive", "/var/lib/kaiwudb/db.kw-3")] and server.wiped == []
    order = [
        (verb, name) for verb, _kind, name in server.sent if verb in ("create", "delete") and name != "kw-volume-3"
    ]
    assert order == [("delete", "datadir-kw-3"), ("delete", "db.kw-3")]


def test_delete_drops_the_objects_only() -> None:
    server = Server(bound(3), volume(3, uid="claim-3"))
    volumes.retire(context(server, volumes="delete"), 3, STEP)
    assert left(server) == [] and server.wiped == server.did == []


def test_wipe_goes_through_the_claim_that_is_there() -> None:
    server = Server(bound(3), volume(3, uid="claim-3"))
    volumes.retire(context(server, volumes="wipe"), 3, STEP)
    assert left(server) == [] and server.wiped == ["datadir-kw-3"] and server.did == []
    assert (PVC, "datadir-kw-3") not in [(kind, name) for verb, kind, name in server.sent if verb == "create"]
    assert ("Pod", "kw-volume-3") not in server.objects


@pytest.mark.parametrize(("prepare", "own"), [("pod", True), ("ssh", False), ("none", False)])
def test_only_who_made_the_directory_takes_it_away(prepare: str, own: bool) -> None:
    """The erasing pod of an administrator's directory is not told it, and does not even see its parent."""
    server = Server(bound(3), volume(3, uid="claim-3"))
    made: list[Any] = []
    controllers = server.on_create

    def create(obj: Any) -> Any:
        made.append(obj)
        return controllers(obj)

    server.on_create = create
    volumes.retire(context(server, volumes="wipe", local_pv_prepare=prepare), 3, STEP)
    (eraser,) = (obj["spec"] for obj in made if obj["kind"] == "Pod")
    assert eraser["containers"][0]["command"][-2:] == ["/claim", "/var/lib/kaiwudb/db.kw-3" if own else ""]
    assert [item["name"] for item in eraser["volumes"]] == ["claim"] + ["host"] * own
    assert left(server) == [] and server.wiped == ["datadir-kw-3"]


def test_or_through_one_made_for_it_whatever_uid_the_old_one_had() -> None:
    server = Server(volume(3, uid="old", **RETIRED))
    ctx = context(server, volumes="wipe")
    volumes.reuse(ctx, Step("reuse/kw-3", "", facts={"ordinal": 3, "action": "wipe"}))
    assert left(server) == [] and server.wiped == ["datadir-kw-3"]


@pytest.mark.parametrize("policy", ["wipe", "archive", "delete", "retain"])
@pytest.mark.parametrize("claimed", [True, False])
def test_killed_after_any_write_the_next_run_ends_it(policy: str, claimed: bool) -> None:
    """Every prefix of the writes, then the same again: the end is the same, and nothing usable was left between."""
    objects = [bound(3)] * claimed + [volume(3, uid="claim-3")]
    whole = Server(*objects)
    volumes.retire(context(whole, volumes=policy), 3, STEP)
    for after in range(whole.writes):
        server = Server(*objects, after=after)
        with pytest.raises(Killed):
            volumes.retire(context(server, volumes=policy), 3, STEP)
        kept = server.objects.get((PV, "db.kw-3"))
        assert after == 0 or kept is None or set(RETIRED) <= set(kept["metadata"]["annotations"]), (
            "it could be mounted again"
        )
        server.after = None
        wiped = bool(server.wiped)
        volumes.retire(context(server, volumes=policy), 3, STEP)
        assert left(server) == left(whole)
        assert bool(server.wiped) or wiped or policy != "wipe" or kept is None


def test_what_a_pod_still_uses_is_never_erased() -> None:
    server = Server(bound(2), volume(2, uid="claim-2"), pod(2))
    with pytest.raises(ClusterError, match="pod kw-2 uses the volume") as error:
        volumes.wipe(context(server), [2], "x")
    assert error.value.reason == "volume_in_use" and server.writes == 0


def strange_claim() -> Any:
    made = bound(3)
    made["spec"]["volumeName"] = "somebody-elses"
    return made


def strange_volume() -> Any:
    made = volume(3)
    made["spec"]["claimRef"]["name"] = "somebody-elses"
    return made


@pytest.mark.parametrize("objects", [(strange_claim(), volume(3)), (bound(3), strange_volume()), (strange_volume(),)])
def test_nor_what_claim_and_volume_do_not_agree_upon(objects: Any) -> None:
    server = Server(*objects)
    with pytest.raises(ClusterError, match="do not name each other") as error:
        volumes.wipe(context(server), [3], "x")
    assert error.value.reason == "claim_mismatch" and server.writes == 0


def test_a_claim_that_never_was_bound_gives_way() -> None:
    pending = bound(3)
    pending["spec"], pending["status"] = {}, {"phase": "Pending"}
    server = Server(pending, volume(3, uid="older"))
    volumes.retire(context(server, volumes="wipe"), 3, STEP)
    assert left(server) == [] and server.wiped == ["datadir-kw-3"]


def test_archiving_leaves_a_claim_with_which_a_pod_waits() -> None:
    """Somebody scaled onto a kept store; the claim binds to the fresh volume that comes next."""
    pending = bound(3)
    pending["spec"], pending["status"] = {"volumeName": ""}, {"phase": "Pending"}
    server = Server(pending, volume(3, uid="old", **RETIRED), pod(3, ready=False))
    volumes.reuse(context(server), Step("reuse/kw-3", "", facts={"ordinal": 3, "action": "archive"}))
    assert left(server) == ["datadir-kw-3"] and server.did == [("archive", "/var/lib/kaiwudb/db.kw-3")]


@pytest.mark.parametrize(("verb", "storage"), [("reuse", "local"), ("drop", "dynamic")])
def test_a_store_that_no_scale_in_has_marked_is_proven_empty_first(
    monkeypatch: pytest.MonkeyPatch, verb: str, storage: str
) -> None:
    """It was decommissioned by hand; whether that came to its end, the ranges' own lists say."""
    server = Server(bound(3), volume(3, "w4", uid="claim-3"))
    ctx = context(server, storage=storage)
    step = Step(f"{verb}/kw-3", "", facts={"ordinal": 3, "action": "archive", "left": 4})
    monkeypatch.setattr(ctx, "ask_engine", lambda: ctx.seen)
    monkeypatch.setattr(ctx, "deep", lambda: deep(ranges((1, 2, 4))))
    with pytest.raises(ClusterError, match=rf"^refused {verb}/kw-3: gate emptied: .*Nothing was changed") as error:
        getattr(volumes, verb)(ctx, step)
    assert error.value.reason == "emptied" and server.writes == 0
    monkeypatch.setattr(ctx, "deep", lambda: deep(ranges((1, 2, 3))))
    getattr(volumes, verb)(ctx, step)
    assert (PVC, "datadir-kw-3") not in server.objects


def test_a_directory_that_is_gone_is_proven_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill between the directory's end and its volume's the claim cannot be mounted any more."""
    server = Server(bound(2), volume(2, uid="claim-2"), bound(3), volume(3, uid="claim-3"))
    ctx, real = context(server), volumes.short_lived.run
    ctx.seen = observed(*server.objects.values())
    tried: list[list[str]] = []

    def run(ctx: Any, wanted: Any, judge: Any, step: str, then: Callable[[], Any]) -> Any:
        tried.append(sorted(wanted))
        if len(tried) == 1:
            raise ClusterError("cannot mount", "volume_mount", node="kw-volume-3")
        return real(ctx, wanted, judge, step, then)

    monkeypatch.setattr(volumes.short_lived, "run", run)
    volumes.wipe(ctx, [2, 3], "x")
    assert tried == [["kw-volume-2", "kw-volume-3"], ["kw-volume-3"], ["kw-volume-2"]]
    assert server.did == [("gone", "/var/lib/kaiwudb/db.kw-3")] and server.wiped == ["datadir-kw-2"]


def test_erasing_needs_an_image_and_says_so_first() -> None:
    server = Server(bound(3), volume(3, uid="claim-3"))
    ctx = context(server)
    ctx.spec = type(ctx.spec)(ctx.spec.asked, {**ctx.spec.values, "image": None})
    with pytest.raises(InputError, match="image"):
        volumes.wipe(ctx, [3], "x")
    assert server.sent == []


# ---- a node leaves: what a storage class provisions


def provisioned(ordinal: int) -> Any:
    made = volume(ordinal, uid=f"claim-{ordinal}")
    made["metadata"] = {"name": f"pvc-{ordinal}"}
    made["spec"]["persistentVolumeReclaimPolicy"] = "Delete"
    return made


def taken(ordinal: int, **notes: str) -> Any:
    made = bound(ordinal, **notes)
    made["spec"]["volumeName"] = f"pvc-{ordinal}"
    return made


@pytest.mark.parametrize(
    ("policy", "stays", "said"),
    [
        ("retain", ["datadir-kw-3", "pvc-3"], "claim datadir-kw-3 kept (policy retain)"), ("delete", ["pvc-3"], "claim datadir-kw-3 deleted"),
        ("archive", ["pvc-3"], "claim datadir-kw-3 deleted, volume pvc-3 kept aside"), ("wipe", ["pvc-3"], "claim datadir-kw-3 erased and deleted"),
    ],
)  # fmt: skip
def test_a_claim_by_each_policy(policy: str, stays: list[str], said: str) -> None:
    """The volume itself is the provisioner's to delete; here nobody does."""
    server = Server(taken(3, **MARK), provisioned(3))
    assert volumes.retire(context(server, storage="dynamic", volumes=policy), 3, STEP) == said
    assert left(server) == stays and server.wiped == (["datadir-kw-3"] if policy == "wipe" else [])
    behind = server.objects[PV, "pvc-3"]
    assert behind["spec"]["persistentVolumeReclaimPolicy"] == ("Retain" if policy == "archive" else "Delete")
    notes = behind["metadata"].get("annotations") or {}
    assert (set(MARK) | {"kaiwudb.kubernetes/archived"} == set(notes)) is (policy == "archive")


@pytest.mark.parametrize("policy", ["retain", "delete", "archive", "wipe"])
def test_a_claim_that_is_gone_already_holds_nobody_up(policy: str) -> None:
    """A run that was killed deleted it, or somebody else did; the next run knows another policy."""
    server = Server()
    said = volumes.retire(context(server, storage="dynamic", volumes=policy), 3, STEP)
    assert (said == "claim datadir-kw-3 was gone already") is (policy == "retain")


def test_archiving_comes_before_the_claim_goes() -> None:
    """Otherwise its provisioner would delete the volume."""
    server = Server(taken(3), provisioned(3))
    volumes.retire(context(server, storage="dynamic", volumes="archive"), 3, STEP)
    assert [(verb, name) for verb, _kind, name in server.sent if verb in ("patch", "delete")] == [
        ("patch", "pvc-3"),
        ("delete", "datadir-kw-3"),
    ]


def test_a_claim_for_which_nothing_was_provisioned_has_nothing_to_erase() -> None:
    pending = taken(3)
    pending["spec"], pending["status"] = {}, {"phase": "Pending"}
    server = Server(pending)
    assert volumes.retire(context(server, storage="dynamic", volumes="wipe"), 3, STEP)
    assert left(server) == [] and server.wiped == []


# ---- the plan after a kill, and the other way round


def test_an_erasure_that_was_begun_is_ended_whatever_the_policy_is_now() -> None:
    for policy in ("retain", "archive", "wipe"):
        found = plan(live(extra=[bound(3, **WIPING), volume(3, "w4", uid="claim-3")]), replicas=4, volumes=policy)
        assert ids(found) == ["reuse/kw-3", "volume/kw-3", "scale_out/kw-3"]
        assert found.steps[0].facts["action"] == "wipe" and "as was begun" in found.steps[0].title
    dynamic = live(of=spec(storage="dynamic"), extra=[claim(3, **WIPING)])
    found = plan(dynamic, replicas=4)
    assert ids(found) == ["drop/kw-3", "scale_out/kw-3"] and found.steps[0].facts["action"] == "wipe"


def test_volumes_alone_are_not_in_use_by_claims_that_erase_them() -> None:
    wanted = spec(volumes="wipe", operations=["remove"])
    assert ids(absent(wanted, observed(bound(0, **WIPING), volume(0)), volumes_only=True)) == ["remove/volumes"]
    with pytest.raises(ClusterError, match="in use: datadir-kw-0"):
        absent(wanted, observed(bound(0), bound(1, **WIPING), volume(0)), volumes_only=True)


# ---- the whole cluster goes


def removal(server: Server, **asked: Any) -> Context:
    ctx = context(server, **asked)
    ctx.seen = observed(*server.objects.values())
    return ctx


def test_a_removal_keeps_the_claims_while_they_are_needed() -> None:
    three = [
        make(number) for number in range(3) for make in (bound, lambda number: volume(number, uid=f"claim-{number}"))
    ]
    server = Server(*copy.deepcopy(three))
    ctx = removal(server, volumes="wipe")
    remove.pods(ctx, Step("remove/pods", ""))
    assert len(left(server)) == 6
    remove.claims(ctx, Step("remove/claims", ""))
    assert left(server) == [] and sorted(server.wiped) == [f"datadir-kw-{number}" for number in range(3)]
    remove.local_volumes(ctx, Step("remove/volumes", ""))
    assert ctx.lines == ["pods gone", "3 volumes: wipe", "claims gone"]
    early = Server(*copy.deepcopy(three))
    remove.pods(removal(early, volumes="retain"), Step("remove/pods", ""))
    assert left(early) == ["db.kw-0", "db.kw-1", "db.kw-2"], "for the others they go as early as can be"


def test_volumes_that_no_claim_reaches_any_more_are_erased_too() -> None:
    server = Server(volume(0, uid="old-0"), volume(3, uid="old-3", **RETIRED))
    ctx = removal(server, volumes="wipe")
    remove.local_volumes(ctx, Step("remove/volumes", ""))
    assert left(server) == [] and sorted(server.wiped) == ["datadir-kw-0", "datadir-kw-3"]


@pytest.mark.parametrize(
    ("policy", "stays"),
    [("archive", ["pvc-0"]), ("delete", ["pvc-0"]), ("wipe", ["pvc-0"]), ("retain", ["datadir-kw-0", "pvc-0"])],
)
def test_the_claims_of_a_storage_class_go_by_policy(policy: str, stays: list[str]) -> None:
    server = Server(taken(0), provisioned(0))
    ctx = removal(server, storage="dynamic", volumes=policy)
    remove.pods(ctx, Step("remove/pods", ""))
    remove.claims(ctx, Step("remove/claims", ""))
    assert left(server) == stays and bool(server.wiped) is (policy == "wipe")
    kept = server.objects[PV, "pvc-0"]["spec"]["persistentVolumeReclaimPolicy"]
    assert kept == ("Retain" if policy == "archive" else "Delete")


@pytest.mark.parametrize(
    ("asked", "right"),
    [
        ({"volumes": "wipe"}, "create persistentvolumeclaims"), ({"volumes": "wipe", "storage": "dynamic"}, "create persistentvolumeclaims"),
        ({"volumes": "archive", "storage": "dynamic"}, "patch persistentvolumes"), ({"volumes": "archive"}, "delete persistentvolumes"),
    ],
)  # fmt: skip
def test_a_removal_asks_for_the_rights_its_policy_needs(asked: dict[str, Any], right: str) -> None:
    made = spec(**asked, operations=["remove"])
    needed = rights.needed(absent(made, live(of=made)))
    assert right in [f"{verb} {resource}" for verb, resource, _group, _namespaced in needed]
    plain = rights.needed(absent(spec(operations=["remove"]), live()))
    assert not [resource for _verb, resource, _group, _namespaced in plain if resource == "persistentvolumes"]
