# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Whose store a volume holds: written, read back, believed only where the directory says the same."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import fingerprint
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import volumes as volumes_planned
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.context import Context
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.errors import ClusterError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.fingerprint import (
    EMPTY,
    FILE,
    MISSING,
    UNKNOWN,
    Fingerprint,
    objection,
    parse,
    read,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations import stamp, volumes
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.run import Run
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.short_lived_pods import SCRIPTS
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.errors import EngineError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import ExecResult, KubeError
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    ID,
    JOURNAL,
    RETIRED,
    claim,
    during,
    gone,
    ids,
    kube_node,
    live,
    observed,
    plan,
    plan_of,
    pod,
    row,
    spec,
    statefulset,
    volume,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.world import World, stop_clocks

KEY = "kaiwudb.kubernetes/fingerprint"
OTHER = "a2f83b2b-0cd3-403f-b4cf-eee9dd8ca59a"
MINE = Fingerprint(ID, 4, 4, 3, "db/kw", "2026-11-23T09:00:00Z")


def marked(ordinal: int = 3, cluster: str = ID, node: int | None = 4, **more: Any) -> dict[str, str]:
    return {KEY: Fingerprint(cluster, node, node, ordinal, "db/kw", "2026-11-23T09:00:00Z").text(), **more}


# ---- kept and read


def test_what_is_kept_is_read_again() -> None:
    assert parse(MINE.text()) == MINE
    assert json.loads(Fingerprint(ID).text()) == {"cluster_id": ID}, "what is not known is not said"
    assert read(volume(3, **marked())) == MINE


@pytest.mark.parametrize("text", [None, "", "nonsense", "[]", "null", "{}", '{"cluster_id": 7}', '"x"'])
def test_nonsense_is_none(text: str | None) -> None:
    assert parse(text) is None


def test_a_field_of_the_wrong_shape_is_left_out() -> None:
    assert parse(json.dumps({"cluster_id": ID, "node_id": "4", "since": 3, "more": 1})) == Fingerprint(ID)


def test_as_earlier_versions_noted_it() -> None:
    old = {"kaiwudb.kubernetes/cluster-id": ID, "kaiwudb.kubernetes/store": "node 4"}
    assert read(volume(3, **old)) == Fingerprint(ID, 4)
    assert read(volume(3, **{**old, "kaiwudb.kubernetes/store": "nonsense"})) == Fingerprint(ID)
    assert read(volume(3, **{**old, KEY: "nonsense"})) == Fingerprint(ID, 4)
    assert read(volume(3)) is None and read(None) is None and read({"metadata": {"annotations": None}}) is None


def test_for_a_person() -> None:
    assert str(MINE) == f"the store of node 4 of cluster {ID} (db/kw-3, since 2026-11-23T09:00:00Z)"
    assert str(Fingerprint(ID, 4)) == f"the store of node 4 of cluster {ID}"
    assert str(Fingerprint(ID)) == f"a volume of cluster {ID}"


def test_the_clusters_id_outlives_journal_and_old_annotations() -> None:
    assert observed(volume(2, **marked(2))).cluster_id == ID


# ---- what really lies there


@pytest.mark.parametrize(
    ("found", "noted", "cluster", "left", "reason"),
    [
        (MINE.text(), MINE, ID, (), ""), (MINE.text(), None, ID, (), ""), (MINE.text(), Fingerprint(ID, 9), ID, (), ""),
        (MINE.text(), MINE, ID, (9,), ""), (MINE.text(), MINE, ID, (4,), "store_retired"), (MINE.text(), MINE, None, (), ""),
        (MINE.text(), MINE, OTHER, (), "store_foreign"), (MINE.text(), None, None, (), "store_foreign"),
        (Fingerprint(OTHER, 4).text(), MINE, ID, (), "store_foreign"), (UNKNOWN, MINE, ID, (), ""), (UNKNOWN, None, ID, (), ""),
        ("nonsense", MINE, ID, (), ""), (EMPTY, MINE, ID, (), "store_missing"), (MISSING, MINE, ID, (), "store_missing"),
        (EMPTY, None, ID, (), ""), (MISSING, Fingerprint(ID), ID, (), ""),
    ],
)  # fmt: skip
def test_objections(
    found: str, noted: Fingerprint | None, cluster: str | None, left: tuple[int, ...], reason: str
) -> None:
    said = objection(found, noted, cluster, left)
    assert said[0] == reason and bool(said[1]) is bool(reason)
    if reason == "store_foreign":
        assert str(parse(found)) in said[1], "its origin"


def scripted(action: str, path: Path, *more: str) -> tuple[int, str]:
    """A preparing pod's script, run by a shell of this machine; and what it printed, or left where a pod leaves its message."""
    message = path.parent / "message"
    script = SCRIPTS[action].replace("/dev/termination-log", str(message))
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(path), *more], capture_output=True, text=True, check=False
    )
    return done.returncode, (message.read_text() if message.exists() else done.stdout).strip()


def test_looking_says_what_lies_there_and_touches_nothing(tmp_path: Path) -> None:
    place = tmp_path / "a store"
    assert scripted("look", place) == (0, MISSING) and not place.exists()
    place.mkdir()
    assert scripted("look", place) == (0, EMPTY)
    (place / ".hidden").write_text("")
    assert scripted("look", place) == (0, UNKNOWN)
    (place / FILE).write_text(MINE.text() + "\n")
    assert scripted("look", place) == (0, MINE.text())
    assert sorted(item.name for item in place.iterdir()) == [".hidden", FILE]
    (place / FILE).unlink()
    (place / ".hidden").rename(place / "lost+found")
    assert scripted("look", place) == (0, EMPTY), "as mkfs leaves it"


def test_what_cannot_be_looked_into_is_neither_empty_nor_missing(tmp_path: Path) -> None:
    """A directory whose listing fails, and a link that leads out of what the pod sees."""
    place = tmp_path / "db.kw-0"
    place.symlink_to(tmp_path / "elsewhere")
    code, said = scripted("look", place)
    assert code == 1 and str(place) in said and "local_pv_prepare" in said
    (tmp_path / "elsewhere").mkdir()
    assert scripted("look", place) == (0, EMPTY)
    for action in ("look", "make"):
        words = [
            "/bin/sh",
            "-c",
            "ls() { return 2; }; " + SCRIPTS[action].replace("/dev/termination-log", "/dev/stdout"),
        ]
        failed = subprocess.run([*words, "sh", str(place)], capture_output=True, text=True, check=False)
        assert (failed.returncode, failed.stdout) == (1, "")


def test_making_refuses_what_is_not_empty_and_says_whose_it_is(tmp_path: Path) -> None:
    place = tmp_path / "new" / "db.kw-0"
    place.mkdir(parents=True)
    assert scripted("make", place) == (0, "")
    (place / FILE).write_text(MINE.text() + "\n")
    code, said = scripted("make", place)
    assert code == 3 and fingerprint.in_output(said.splitlines()) == MINE


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    words = ["/bin/sh", "-c", stamp._WRITE, "sh", MINE.text(), str(tmp_path / FILE)]
    for _twice in range(2):
        subprocess.run(words, check=True)
        assert [item.name for item in tmp_path.iterdir()] == [FILE] and parse((tmp_path / FILE).read_text()) == MINE


# ---- the plan


def test_a_kept_volume_comes_back_to_its_own_cluster() -> None:
    kept = volume(3, "w4", uid="old", **marked())
    found = plan(live(extra=[kept]), replicas=4)
    assert ids(found) == ["free/kw-3", "scale_out/kw-3"]
    assert found.steps[0].title == f"kept, with {MINE}: it goes to its new claim"


def test_and_to_no_other() -> None:
    kept = volume(3, "w4", uid="old", **marked(cluster=OTHER))
    with pytest.raises(
        ClusterError, match=f"volume db.kw-3 still holds the store of node 4 of cluster {OTHER} .*not this cluster"
    ) as error:
        plan(live(extra=[kept]), replicas=4)
    assert (error.value.reason, error.value.facts) == ("store_foreign", {"node": "kw-3", "resumable": False})
    for policy in ("archive", "wipe"):
        found = plan(live(extra=[kept]), replicas=4, volumes=policy)
        assert ids(found) == ["reuse/kw-3", "volume/kw-3", "scale_out/kw-3"]
        assert OTHER in found.steps[0].title and found.steps[0].facts["action"] == policy
    with pytest.raises(ClusterError, match="not this cluster"):
        plan(live(extra=[kept]), replicas=4, volumes="delete")


def test_without_a_journal_the_members_claims_say_who_we_are() -> None:
    own = [claim(number, **marked(number, node=number + 1)) for number in range(3)]
    kept = volume(3, "w4", uid="old", **marked(cluster=OTHER))
    with pytest.raises(ClusterError, match="not this cluster"):
        plan(live(extra=[*own, kept], journal=Journal()), replicas=4)


def test_stores_of_two_clusters_make_none() -> None:
    kept = [
        volume(number, uid=f"old-{number}", **marked(number, OTHER if number == 1 else ID, number + 1))
        for number in range(3)
    ]
    with pytest.raises(ClusterError, match=r"hold stores of different clusters: kw-0: .*; kw-1: .*; kw-2: ") as error:
        plan_of(spec(), observed(*kept))
    assert error.value.reason == "store_foreign" and OTHER in error.value.msg and ID in error.value.msg
    with pytest.raises(ClusterError, match="different clusters"):
        plan_of(spec(volumes="wipe"), observed(*kept))


def test_a_claim_of_another_cluster_is_not_taken() -> None:
    seen = live(of=spec(storage="dynamic"), extra=[claim(3, **marked(cluster=OTHER))])
    with pytest.raises(ClusterError, match=r"claim datadir-kw-3 still holds .* not this cluster") as error:
        plan(seen, replicas=4)
    assert error.value.reason == "store_foreign"
    assert ids(plan(seen, replicas=4, volumes="delete")) == ["drop/kw-3", "scale_out/kw-3"]
    assert ids(plan(live(of=spec(storage="dynamic"), extra=[claim(3, **marked())]), replicas=4)) == ["scale_out/kw-3"]


def test_a_retired_store_is_refused_with_its_origin() -> None:
    with pytest.raises(ClusterError, match=f"still holds the store of node 4 of cluster {ID} .*, which left") as error:
        plan(live(extra=[volume(3, "w4", uid="old", **marked(), **RETIRED)]), replicas=4)
    assert error.value.reason == "store_retired"


def test_an_emptied_volume_is_noted_anew() -> None:
    """Its pod joined as another node; the note is brought up to date, and nothing else happens."""
    noted = volume(2, uid="claim-2", **marked(2, node=3))
    assert ids(plan(live(extra=[noted]))) == []
    found = plan(live(extra=[noted], nodes=[row(1, 0), row(2, 1), gone(3, 2), row(7, 2)]))
    assert ids(found) == ["stamp"] and found.steps[0].operation == "reconfigure" and not found.steps[0].disruptive
    assert found.steps[0].title == "kw-2 has the store of node 7, noted is node 3"
    dead = live(
        extra=[noted], nodes=[row(1, 0), row(2, 1), gone(3, 2, is_decommissioning=False), row(7, 2, is_live=False)]
    )
    assert "stamp" not in ids(plan(dead)), "only one that lives"
    dynamic = live(of=spec(storage="dynamic"), extra=[claim(2, **marked(2, node=9))])
    assert ids(plan(dynamic)) == ["stamp"]


@pytest.mark.parametrize("notes", [{}, marked(2, node=None), {"kaiwudb.kubernetes/cluster-id": ID}])
def test_what_nobody_has_noted_is_noted(notes: dict[str, str]) -> None:
    """Of a pod that `kubectl scale` made, say; whoever provisioned its volume."""
    local, dynamic = volume(2, uid="claim-2", **notes), claim(2, **notes)
    for seen in (live(extra=[local]), live(of=spec(storage="dynamic"), extra=[dynamic])):
        found = plan(seen)
        assert ids(found) == ["stamp"] and found.steps[0].title == "kw-2 has the store of node 3, nothing is noted"
    assert ids(plan(live(extra=[volume(2, uid="claim-2", **RETIRED, **notes)]))) == [], "never one that was given up"
    replaced = replace(JOURNAL, replacing={"kw-2": {}})
    assert volumes_planned.restamp(spec(), live(extra=[local], journal=replaced)) == [], "its replacement does it"


def test_what_joined_before_a_run_was_killed_is_noted_by_the_step_that_goes_on() -> None:
    """It is complete only then, and notes all stores; no step of its own, which the run may not be allowed to make."""
    seen = live(
        extra=[volume(2, uid="claim-2", **marked(2, node=None))],
        journal=during("scale_out", "scale_out/kw-2"),
    )
    assert ids(plan(seen)) == ["scale_out/kw-2"]
    assert ids(plan(seen, replicas=4)) == ["scale_out/kw-2", "volume/kw-3", "scale_out/kw-3"]


def test_a_node_that_is_not_known_yet_is_only_waited_for() -> None:
    """Its address may still tell of the node before; so a settled cluster stays without a write, and the wait ends with the note."""
    fresh, two = volume(2, uid="claim-2", **marked(2, node=None)), [pod(0), pod(1)]
    waiting = live(extra=[fresh], pods=[*two, pod(2, ready=False)])
    assert volumes_planned.restamp(spec(), waiting) == [] and ids(plan(waiting)) == ["settle", "stamp"]
    assert plan(waiting).steps[1].title == "once kw-2 joined"
    assert ids(plan(live(pods=[*two, pod(2, ready=False)]))) == ["settle"], "what is noted stays"
    unknown = live(extra=[fresh], nodes=[row(1, 0), row(2, 1)])
    assert volumes_planned.restamp(spec(), unknown) == [] and ids(plan(unknown)) == ["settle", "stamp"]


@pytest.mark.parametrize("waits", [False, True])
def test_a_pod_that_somebody_else_added_is_noted_once(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    """Its volume is made, or was by a run that was killed; one run later nothing is written."""
    world = World(stop_clocks(monkeypatch), replicas=4, workers=5, ranges=0)
    for kind in ("PersistentVolumeClaim/datadir-kw-3", "PersistentVolume/db.kw-3"):
        world[kind]["metadata"].pop("annotations")
    if waits:
        del world.objects["PersistentVolume", "db.kw-3"], world.objects["Pod", "kw-3"]
        del world.engine[world.stores.pop("w4:/var/lib/kaiwudb/db.kw-3")]
        world["PersistentVolumeClaim/datadir-kw-3"]["status"] = {"phase": "Pending"}
        world.settle()

    def run() -> list[str]:
        asked = {"name": "kw", "namespace": "db"}
        return list(Run(world, asked, who="ann", run_id=f"r{world.version}").go()["steps"])  # type: ignore[arg-type]

    assert run() == (["volume/kw-3", "settle", "stamp"] if waits else ["stamp"])
    for kind in ("PersistentVolumeClaim/datadir-kw-3", "PersistentVolume/db.kw-3"):
        mark = read(world[kind])
        assert mark is not None and mark.node_id == world.lives(3)
        assert world.beside["w4:/var/lib/kaiwudb/db.kw-3"] == mark.text()
    world.writes.clear()
    assert run() == [] and world.writes == []


# ---- doing it


class Engine:
    """The only question that a stamp asks."""

    def __init__(self, answers: bool = True) -> None:
        self.answers = answers

    def sql_rows(self, _statement: str) -> list[dict[str, str]]:
        if not self.answers:
            raise EngineError("cut", "no answer")
        return [{"node_id": str(number), "store_id": str(number + 10)} for number in range(1, 5)]


def context(*objects: Any, of: Any = None, **more: Any) -> tuple[Context, Client]:
    client = Client(Clock(), *objects)
    ctx = Context(client, of or spec(), PROFILES["kwdb"], "ann", run_id="r1")  # type: ignore[arg-type]
    ctx.seen = live(of=of, **more)
    ctx.engine = Engine()  # type: ignore[assignment]
    return ctx, client


def all_of(count: int = 3, **notes: str) -> list[Any]:
    return [make(number, **notes) for number in range(count) for make in (claim, volume)]


def noted(client: Client, ordinal: int) -> list[Fingerprint | None]:
    return [
        read(client.objects[key])
        for key in (("PersistentVolumeClaim", f"datadir-kw-{ordinal}"), ("PersistentVolume", f"db.kw-{ordinal}"))
    ]


def test_a_stamp_goes_beside_the_store_first_and_then_on_claim_and_volume() -> None:
    ctx, client = context(*all_of())
    ran: list[tuple[str, list[str]]] = []
    client.on_exec = lambda pod, argv: (ran.append((pod, argv)), ExecResult(0, "", ""))[1]
    stamp.stamp(ctx)
    found = noted(client, 1)
    assert found[0] == found[1] and found[0] is not None and found[0].since
    assert (found[0].cluster_id, found[0].node_id, found[0].store_id, found[0].ordinal) == (ID, 2, 12, 1)
    assert [pod for pod, _argv in ran] == ["kw-0", "kw-1", "kw-2"]
    argv = ran[1][1]
    assert argv[:4] == ["timeout", "-s", "KILL", "10"] and argv[-1] == f"/kaiwudb/deploy/kaiwudb-container/{FILE}"
    assert parse(argv[-2]) == found[0], "an argument, never part of the script"
    order = [verb for verb, _kind, name in client.sent if name in ("kw-0", "datadir-kw-0", "db.kw-0") and verb != "get"]
    assert order == ["exec", "patch", "patch"]


def test_a_second_stamp_writes_nothing_and_keeps_since() -> None:
    ctx, client = context(*all_of())
    stamp.stamp(ctx)
    before = noted(client, 0)
    client.sent.clear()
    ctx.engine = Engine(answers=False)  # type: ignore[assignment]
    stamp.stamp(ctx)
    assert {verb for verb, _kind, _name in client.sent} == {"get"} and noted(client, 0) == before


def test_what_earlier_versions_wrote_is_replaced() -> None:
    old = {"kaiwudb.kubernetes/cluster-id": ID, "kaiwudb.kubernetes/store": "node 1"}
    ctx, client = context(*all_of(**old))
    stamp.stamp(ctx)
    notes = client.objects["PersistentVolume", "db.kw-0"]["metadata"]["annotations"]
    assert "kaiwudb.kubernetes/store" not in notes and notes["kaiwudb.kubernetes/cluster-id"] == ID


def test_a_pod_that_the_engine_does_not_know_keeps_its_note() -> None:
    ctx, client = context(*all_of(), volume(2, **marked(2, node=3)), nodes=[row(1, 0), row(2, 1)])
    stamp.stamp(ctx)
    assert noted(client, 2)[1] == read(volume(2, **marked(2, node=3)))


@pytest.mark.parametrize(
    "broken", [ExecResult(1, "", "Read-only file system"), KubeError(500, "ExecFailed", "no such file")]
)
def test_a_file_that_cannot_be_written_is_said_and_stops_nothing(broken: Any) -> None:
    ctx, client = context(*all_of())

    def fails(_pod: str, _argv: list[str]) -> ExecResult:
        if isinstance(broken, KubeError):
            raise broken
        return broken  # type: ignore[no-any-return]

    client.on_exec = fails
    stamp.stamp(ctx)
    assert noted(client, 0)[1] is not None and len([line for line in ctx.lines if "could not be written" in line]) == 3


def test_nothing_is_stamped_before_the_id_is_known() -> None:
    ctx, client = context(*all_of(), journal=Journal())
    stamp.stamp(ctx)
    assert client.sent == []
    stamp.stamp(ctx, OTHER)
    found = noted(client, 0)[0]
    assert found is not None and found.cluster_id == OTHER


def ended(said: str, code: int = 0) -> Any:
    """A short-lived pod that has run, and what it left."""

    def made(obj: dict[str, Any]) -> dict[str, Any]:
        state = {"terminated": {"exitCode": code, "message": said}}
        phase = "Failed" if code else "Succeeded"
        return {**obj, "status": {"phase": phase, "containerStatuses": [{"name": "volume", "state": state}]}}

    return made


def freeing(said: str, **more: Any) -> tuple[Context, Client]:
    kept = volume(3, "w4", uid="old", **marked())
    ctx, client = context(kept, extra=[kept], **more)
    client.on_create = ended(said)
    return ctx, client


FREE = Step("free/kw-3", "", "scale_out", facts={"ordinal": 3, "look": True})


def test_a_kept_volume_is_looked_into_before_it_is_freed() -> None:
    ctx, client = freeing(MINE.text())
    volumes.take_back(ctx, [FREE])
    assert "uid" not in client.objects["PersistentVolume", "db.kw-3"]["spec"]["claimRef"]
    assert [(verb, name) for verb, _kind, name in client.sent if verb in ("create", "delete", "patch")] == [
        ("create", "kw-volume-3"), ("delete", "kw-volume-3"), ("patch", "db.kw-3"),
    ]  # fmt: skip


def going(ordinal: int) -> dict[str, Any]:
    """A claim that was deleted, and that its pod still holds."""
    made = claim(ordinal, **marked(ordinal, node=ordinal + 1))
    return {**made, "metadata": {**made["metadata"], "uid": "old", "deletionTimestamp": "2026-11-23T10:00:00Z"}}


def test_a_claim_that_is_being_deleted_brings_no_store_back() -> None:
    """`kubectl scale`, then `kubectl delete pvc` while the pod drains: the claim to come is another one, and its volume must be freed for it."""
    found = plan(live(extra=[going(3), volume(3, "w4", uid="old", **marked())]), replicas=4)
    assert ids(found) == ["free/kw-3", "scale_out/kw-3"] and found.steps[1].title == "replicas 3 → 4"
    dynamic = live(of=spec(storage="dynamic"), extra=[going(3)])
    assert plan(dynamic, replicas=4).steps[0].title == "replicas 3 → 4"


def test_a_claim_that_a_pod_without_its_statefulset_holds_stays_for_now() -> None:
    kept = volume(1, uid="old", **marked(1, node=2))
    seen = live(extra=[going(1), kept], without=["StatefulSet/kw"])
    assert "free/kw-1" not in ids(plan(seen, replicas=3, image="kwdb/kwdb:3.2.1", security="insecure")), (
        "the run after it reclaims"
    )


def test_a_volume_is_freed_when_the_claim_before_has_gone() -> None:
    kept = volume(3, "w4", uid="old", **marked())
    ctx, client = context(kept, going(3), extra=[kept, going(3)])
    client.on_create = ended(MINE.text())
    client.on_watch = lambda: client.objects.pop(("PersistentVolumeClaim", "datadir-kw-3"), None)
    volumes.take_back(ctx, [FREE])
    verbs = [verb for verb, _kind, _name in client.sent if verb in ("watch", "create", "patch")]
    assert verbs[0] == "watch" and verbs[-2:] == ["create", "patch"], "waited, looked, freed"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Fingerprint(OTHER, 1, 1, 0, "db/other").text(), "store_foreign"),
        (EMPTY, "store_missing"),
        (MISSING, "store_missing"),
    ],
)
def test_and_stays_kept_when_something_else_lies_there(said: str, reason: str) -> None:
    ctx, client = freeing(said)
    with pytest.raises(
        ClusterError, match=r"directory /var/lib/kaiwudb/db.kw-3 on w4 .*Nothing in it was touched"
    ) as error:
        volumes.take_back(ctx, [FREE])
    assert (error.value.reason, error.value.facts["node"]) == (reason, "kw-3")
    assert client.objects["PersistentVolume", "db.kw-3"]["spec"]["claimRef"]["uid"] == "old"
    assert ("Pod", "kw-volume-3") not in client.objects


def test_the_store_of_a_node_that_left_is_known_by_the_engine() -> None:
    ctx, _client = freeing(MINE.text(), nodes=[row(1, 0), row(2, 1), row(3, 2), gone(4, 3)])
    with pytest.raises(ClusterError, match="that node was decommissioned"):
        volumes.take_back(ctx, [FREE])


def test_a_node_that_does_not_answer_keeps_nobody_waiting() -> None:
    kept = [volume(number, uid=f"old-{number}", **marked(number, node=number + 1)) for number in range(3)]
    nodes = [kube_node("w1"), kube_node("w2", ready=False)]
    steps = [step for step in plan_of(spec(), observed(*kept), nodes).steps if step.id.startswith("free/")]
    assert [step.facts["look"] for step in steps] == [True, False, False], "one that is gone neither"
    blind = [step for step in plan_of(spec(), observed(*kept), None).steps if step.id.startswith("free/")]
    assert all(step.facts["look"] for step in blind), "unless nobody can say"
    ctx, client = freeing(EMPTY)
    volumes.take_back(ctx, [Step("free/kw-3", "", "scale_out", facts={"ordinal": 3, "look": False})])
    assert [verb for verb, _kind, _name in client.sent] == ["patch"] and "w4 is not ready" in ctx.lines[0]


def test_where_no_pod_may_prepare_none_looks() -> None:
    ctx, client = freeing(EMPTY, of=spec(local_pv_prepare="none"))
    volumes.take_back(ctx, [FREE])
    assert [verb for verb, _kind, _name in client.sent] == ["patch"]


def test_a_directory_that_is_not_empty_tells_whose_it_is() -> None:
    ctx, client = context()
    client.on_create = ended("not empty", 3)
    client.log_text = {True: "", False: f"not empty:\n{MINE.text()}\ntotal 8\n"}
    step = Step("volume/kw-3", "", "scale_out", facts={"ordinal": 3, "node": "w4", "hostname": None})
    with pytest.raises(ClusterError, match=f"is not empty: it holds the store of node 4 of cluster {ID}") as error:
        volumes.make(ctx, [step])
    assert error.value.reason == "volume_not_empty" and ("PersistentVolume", "db.kw-3") not in client.objects


def test_the_template_is_not_touched_by_any_of_this() -> None:
    assert "fingerprint" not in json.dumps(statefulset(spec())["spec"])
