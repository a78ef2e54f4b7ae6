# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Two views joined by address, what only gates need, and status for a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import fingerprint, manifests, names, status
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.context import Context
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import Journal
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.manifests import configmap
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.observe import (
    Job,
    Store,
    ask_engine,
    container,
    look_at_objects,
    look_deep,
    ready,
)
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.ranges import Range
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.errors import EngineError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError
from ansible_collections.kaiwudb.kubernetes.plugins.modules import kaiwudb_cluster_info
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    ID,
    JOURNAL,
    LABELS,
    NAMES,
    NEW,
    OLD,
    claim,
    deep,
    gone,
    live,
    observed,
    pod,
    ranges,
    row,
    silent,
    spec,
    statefulset,
    volume,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.fakes import Client, Clock

# ---- rows and pods


def test_pods_and_rows_are_joined_by_the_exact_address() -> None:
    seen = live(11)
    assert [item.id for item in seen.rows_of("kw-1")] == [2] and [item.id for item in seen.rows_of("kw-10")] == [11]
    assert seen.node_of("kw-11") is None and seen.node_of("nonsense") is None
    assert live(sql_port=26258).node_of("kw-0") is None, "another port is another address"


@pytest.mark.parametrize(
    ("rows", "told", "chosen"),
    [
        ([gone(4, 3), row(5, 3)], {}, 5), ([row(5, 3), gone(4, 3)], {}, 5),
        ([row(4, 3), row(5, 3)], {}, 5), ([row(4, 3), row(5, 3)], {"kw-3": 4}, 4),
        ([row(4, 3), gone(5, 3)], {"kw-3": 5}, 5), ([row(4, 3), row(5, 3)], {"kw-3": 99}, 5),
    ],
)  # fmt: skip
def test_of_two_rows_with_one_address(rows: list[Any], told: dict[str, int], chosen: int) -> None:
    found = live(4, nodes=[row(1, 0), *rows], ids=told).node_of("kw-3")
    assert found is not None and found.id == chosen


UNSCHEDULED = {**pod(2, ready=False, unschedulable="no room"), "spec": {"containers": [{"name": "kaiwudb"}]}}


@pytest.mark.parametrize(
    ("last", "node", "down"),
    [
        (pod(2), row(3, 2), False), (pod(2), row(3, 2, is_live=False), False), (pod(2), None, False),
        (pod(2, ready=False), row(3, 2), False), (pod(2, ready=False), row(3, 2, is_available=False), False),
        (pod(2, ready=False), row(3, 2, is_live=False), True), (pod(2, ready=False), row(3), True), (pod(2, ready=False), None, True),
        (None, row(3, 2), True), (pod(2, deleting=True), row(3, 2), False), (pod(2, deleting=True), row(3, 2, is_live=False), True),
    ],
)  # fmt: skip
def test_a_pod_is_down_when_kubernetes_and_the_engine_say_so(last: Any, node: Any, down: bool) -> None:
    seen = live(
        pods=[pod(0), pod(1), *([last] if last else [])], nodes=[row(1, 0), row(2, 1), *([node] if node else [])]
    )
    assert seen.down("kw-2") is down


@pytest.mark.parametrize(
    ("last", "down"),
    [
        (pod(2), False), (pod(2, ready=False), False), (None, True), (UNSCHEDULED, True),
        (pod(2, ready=False, ended=1), True), (pod(2, ready=False, waiting=("CrashLoopBackOff", "")), True),
        (pod(2, ready=False, phase="Failed"), True),
        ({**pod(2, ready=False), "status": {"phase": "Pending"}}, False),  # its kubelet has said nothing yet
    ],
)  # fmt: skip
def test_where_the_engine_is_silent_the_container_says_it(last: Any, down: bool) -> None:
    seen = silent(live(pods=[pod(0), pod(1), *([last] if last else [])]))
    assert seen.down("kw-2") is down


def test_before_the_first_init_nothing_is_lost() -> None:
    never = silent(live(pods=[pod(number, ready=False) for number in range(3)], journal=Journal()))
    assert not never.initialized and never.down("kw-2")


def test_history_is_no_member_but_a_dead_or_leaving_node_is() -> None:
    dead, leaving = row(2, 1, is_live=False, is_available=False), row(3, 2, is_decommissioning=True)
    seen = live(nodes=[row(1, 0), dead, leaving, gone(4, 3), gone(5), gone(6, 2)])
    assert [item.id for item in seen.members()] == [1, 2, 3]
    assert [item.id for item in seen.live()] == [1]
    still_live = live(nodes=[row(1, 0), row(2, 1), row(3, 2), row(4, 3, is_decommissioning=True)])
    assert [item.id for item in still_live.members()] == [1, 2, 3], "frozen gossip of a pod that is gone"
    stray = live(nodes=[row(1, 0), row(2, 1), row(3, 2), row(9, 7)])
    assert [item.id for item in stray.members()] == [1, 2, 3, 9], "a node outside is one all the same"


@pytest.mark.parametrize(
    ("last", "live_still", "member"),
    [
        (pod(3, ready=False, deleting=True), False, False),
        (pod(3, ready=False), False, False),
        (pod(3), False, True),  # Kubernetes has not noticed, or the engine not yet
        (pod(3, ready=False, deleting=True), True, True),  # it still leaves
    ],
)
def test_a_decommissioned_node_that_died_is_history_though_its_pod_lies_about(
    last: Any, live_still: bool, member: bool
) -> None:
    rows = [row(1, 0), row(2, 1), row(3, 2), row(4, 3, is_decommissioning=True, is_live=live_still)]
    seen = live(4, pods=[pod(0), pod(1), pod(2), last], nodes=rows)
    assert (4 in [item.id for item in seen.members()]) is member


def test_wholeness_counts_live_members_and_those_that_stay() -> None:
    rows = [row(1, 0), row(2, 1), row(3, 2), row(4, 3, is_decommissioning=True)]
    on_the_leaving = [Range(1, "a.b", frozenset({1, 2, 4}), 3)]
    assert deep(on_the_leaving).wholeness(live(4, nodes=rows)).whole, "it is still there"
    assert not deep(on_the_leaving).wholeness(live(3, nodes=rows)).whole, "its pod is gone"
    five = [Range(1, "", frozenset({1, 2, 3}), 5)]
    assert deep(five).wholeness(live(4, nodes=rows)).whole
    assert not deep(five).wholeness(live(5)).whole


def test_a_dead_node_may_count_as_if_it_lived() -> None:
    seen = live(4, nodes=[row(1, 0), row(2, 1), row(3, 2), row(4, 3, is_live=False, is_available=False)])
    lacking = deep(ranges((1, 2, 4)))
    assert not lacking.wholeness(seen).whole and lacking.wholeness(seen, also=4).whole
    away = live(nodes=[row(1, 0), row(2, 1), row(3, 2, is_available=False)])
    assert not deep().wholeness(away).whole, "live in gossip alone is not enough"
    assert not lacking.wholeness(seen, also=3).whole and not deep(ranges((1, 2))).wholeness(seen, also=4).whole


# ---- what is remembered


def test_what_the_cluster_remembers() -> None:
    assert observed().remembered is None and observed().image is None and observed().replicas == 0
    seen = live(5, of=spec(replicas=5, cache="1GiB"))
    known = seen.remembered
    assert known is not None and (known["cache"], known["image"], known["replicas"]) == ("1GiB", OLD, 5)
    assert seen.expected_pods() == ["kw-0", "kw-1", "kw-2", "kw-3", "kw-4"]


@pytest.mark.parametrize(
    ("leaving", "replicas"),
    [
        ({"pods": ["kw-3", "kw-4"], "replicas": 3}, 3),
        ({"pods": ["kw-4"], "replicas": 3}, 3),
        ({"pods": ["kw-5"], "replicas": 3}, 5),  # gone already
        ({"pods": [], "replicas": 3}, 5),
        ({"replicas": 3}, 5),
        ({"pods": ["kw-4"]}, 5),  # nobody knows how many were wanted
        ({}, 5),
    ],
)
def test_an_interrupted_scale_in_is_remembered_as_what_was_wanted(leaving: dict[str, Any], replicas: int) -> None:
    """Also when another operation came between."""
    for operation in ({}, {"name": "scale_in", "replicas": 3}, {"name": "upgrade", "replicas": 7}):
        known = live(5, journal=replace(JOURNAL, leaving=leaving, operation=operation)).remembered
        assert known is not None and known["replicas"] == replicas


NONSENSE = [None, "", "{not json", "[]", "null", "7", "{}", '"text"']


def with_note(note: str | None) -> Any:
    edited = statefulset(spec())
    edited["metadata"]["annotations"] = None if note is None else {"kaiwudb.kubernetes/options": note}
    return edited


@pytest.mark.parametrize("note", NONSENSE)
def test_a_mangled_annotation_remembers_nothing(note: str | None) -> None:
    assert live(sts=with_note(note)).remembered == {"image": OLD, "replicas": 3}


@pytest.mark.parametrize("note", NONSENSE)
def test_where_the_annotation_is_lost_the_journal_remembers(note: str | None) -> None:
    kept = replace(JOURNAL, options={"cache": "1GiB", "security": "insecure"})
    seen = live(sts=with_note(note), journal=kept)
    assert seen.noted == kept.options
    assert seen.remembered == {"cache": "1GiB", "security": "insecure", "image": OLD, "replicas": 3}


def test_the_annotation_counts_before_the_journal() -> None:
    seen = live(of=spec(cache="2GiB"), journal=replace(JOURNAL, options={"cache": "1GiB"}))
    assert seen.noted["cache"] == "2GiB"
    assert observed(journal=replace(JOURNAL, options={"cache": "1GiB"})).noted == {}, (
        "without a StatefulSet there is none"
    )


# ---- pods that lost their StatefulSet

KEPT = replace(JOURNAL, options=spec(cache="1GiB").remembered())


def test_pods_and_the_journal_tell_what_a_lost_statefulset_was() -> None:
    seen = observed(pod(0, image=NEW), pod(1), pod(10), journal=KEPT)
    known = seen.remembered
    assert known is not None
    assert (known["cache"], known["image"], known["replicas"]) == ("1GiB", NEW, 11), (
        "the lowest pod's image, the highest ordinal"
    )
    assert seen.replicas == 0 and seen.statefulset is None


@pytest.mark.parametrize(
    ("ordinals", "single", "replicas"),
    [([0], True, 1), ([0], False, 3), ([0, 1], False, 3), ([2], False, 3), ([0, 1, 2, 3], False, 4), ([3], False, 4)],
)
def test_of_a_cluster_at_least_three(ordinals: list[int], single: bool, replicas: int) -> None:
    """Some of its pods may be gone with their StatefulSet; two were never a cluster."""
    kept = replace(JOURNAL, options=spec(single_node=single).remembered())
    known = observed(*map(pod, ordinals), journal=kept).remembered
    assert known is not None and known["replicas"] == replicas


@pytest.mark.parametrize(
    ("where", "made"),
    [
        ({"metadata": {"name": "db", "annotations": {"kaiwudb.kubernetes/made-for": "kw"}}}, True),
        ({"metadata": {"name": "db", "annotations": {"kaiwudb.kubernetes/made-for": "kw-2"}}}, False),
        ({"metadata": {"name": "db", "annotations": None}}, False),
        ({"metadata": {"name": "db"}}, False),
        ({}, False),  # it may not be looked at
    ],
)
def test_a_namespace_says_for_whom_it_was_made(where: dict[str, Any], made: bool) -> None:
    assert observed(namespace=where).made_namespace is made
    assert observed(there=False).made_namespace is False


@pytest.mark.parametrize(
    ("pods", "journal"),
    [
        ([], KEPT),  # nobody runs: a new cluster may be made as it is asked for
        ([pod(0)], JOURNAL),  # nothing was kept
        ([pod(0)], replace(JOURNAL, options={"cache": "1GiB"})),  # not all of it
    ],
)
def test_without_pods_or_memory_nothing_is_known(pods: list[Any], journal: Journal) -> None:
    assert observed(*pods, journal=journal).remembered is None


# ---- paused


@pytest.mark.parametrize(
    ("notes", "paused"),
    [
        (None, ""), ({}, ""), ({"kaiwudb.kubernetes/options": "{}"}, ""), ({"kaiwudb.kubernetes/paused": "09:00 by ann"}, "09:00 by ann"),
        ({"kaiwudb.kubernetes/paused": ""}, "somebody"),
    ],
)  # fmt: skip
def test_who_paused_it(notes: dict[str, str] | None, paused: str) -> None:
    marked = statefulset(spec())
    marked["metadata"]["annotations"] = notes
    assert live(sts=marked).paused == paused
    assert observed().paused == ""


def test_the_options_of_a_removal_that_was_interrupted() -> None:
    assert observed(journal=Journal(operation={"name": "remove", "options": {"image": OLD}})).removed_options == {
        "image": OLD
    }
    assert observed(journal=Journal(operation={"name": "remove"})).removed_options == {}
    assert observed(journal=Journal(operation={"name": "create", "options": {"a": 1}})).removed_options == {}


def test_the_cluster_id_outlives_the_journal() -> None:
    stamp = {"kaiwudb.kubernetes/cluster-id": "stamped"}
    assert observed().cluster_id is None
    assert observed(claim(0), claim(1, **stamp)).cluster_id == "stamped"
    assert observed(volume(2, **stamp)).cluster_id == "stamped"
    assert observed(volume(2, **stamp), journal=JOURNAL).cluster_id == ID


@pytest.mark.parametrize(
    ("seen", "initialized"),
    [
        (observed(), False), (observed(pod(0, ready=False)), False), (observed(nodes=[]), False), (observed(pod(0)), True),
        (observed(nodes=[row(1, 0)]), True), (observed(journal=Journal(initialized={"at": "t"})), True), (observed(journal=Journal(cluster_id="x")), True),
        (observed(journal=Journal(initializing={"since": "t"})), False), (observed(pod(0, deleting=True)), False),
    ],
)  # fmt: skip
def test_initialized(seen: Any, initialized: bool) -> None:
    assert seen.initialized is initialized


def test_ready_and_container() -> None:
    assert (
        ready(pod(0))
        and not ready(pod(0, ready=False))
        and not ready(pod(0, deleting=True))
        and not ready({"metadata": {}})
    )
    made = {"spec": {"containers": [{"name": "side"}, {"name": "kaiwudb"}]}}
    assert (
        container(made)["name"] == "kaiwudb"
        and container({"spec": {"containers": [{"name": "other"}]}})["name"] == "other"
    )


# ---- looking


def test_a_look_takes_only_what_is_ours() -> None:
    client = Client(Clock())
    for name, labels in (("kw", LABELS), ("foreign", {"app": "x"})):
        client.put({"kind": "Service", "metadata": {"name": name, "labels": labels}})
    client.put({"kind": "Namespace", "metadata": {"name": "db"}})
    seen = look_at_objects(client, NAMES)  # type: ignore[arg-type]
    assert list(seen.objects["Service"]) == ["kw"] and seen.namespace is not None
    assert [verb for verb, _kind, _name in client.sent] == ["get"] + ["list"] * 8, "one read a kind"
    assert client.labels["Pod"] == NAMES.pod_selector, "pods that prepare volumes are no nodes"
    assert client.labels["Service"] == NAMES.selector and client.labels["PersistentVolume"] == NAMES.volume_selector
    client.sent.clear()
    look_at_objects(client, NAMES, volumes=False)  # type: ignore[arg-type]
    assert ("list", "PersistentVolume", "") not in client.sent


def listed(*items: dict[str, Any]) -> tuple[Client, Any]:
    """A look at a server that lists by labels, as a real one does."""
    client = Client(Clock())
    for item in ({"kind": "Namespace", "metadata": {"name": "db"}}, statefulset(spec()), *items):
        client.put(item)
    everything = client.list

    def by_labels(kind: str, namespace: str | None = None, **how: Any) -> Any:
        found, version = everything(kind, namespace, **how)
        wanted = how.get("labels") or {}
        return [item for item in found if wanted.items() <= (item["metadata"].get("labels") or {}).items()], version

    client.list = by_labels  # type: ignore[method-assign]
    return client, look_at_objects(client, NAMES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lost",
    [
        "app.kubernetes.io/name",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/component",
        "app.kubernetes.io/managed-by",
    ],
)
def test_a_pod_whose_labels_were_edited_is_found_by_its_name(lost: str) -> None:
    edited = pod(1)
    edited["metadata"]["labels"].pop(lost)
    client, seen = listed(pod(0), edited, pod(2))
    assert sorted(seen.pods) == ["kw-0", "kw-2"] and list(seen.strays) == ["kw-1"]
    assert [name for verb, kind, name in client.sent if (verb, kind) == ("get", "Pod")] == ["kw-1"], (
        "only what is missing is asked for"
    )


def test_a_pod_that_is_missing_is_no_stray() -> None:
    assert listed(pod(0), pod(2))[1].strays == {}
    client, seen = listed(pod(0), pod(1), pod(2))
    assert seen.strays == {} and ("get", "Pod") not in [(verb, kind) for verb, kind, _name in client.sent]


def test_a_namespace_that_is_missing_or_may_not_be_seen() -> None:
    client = Client(Clock())
    assert look_at_objects(client, NAMES).namespace is None  # type: ignore[arg-type]
    assert [kind for verb, kind, _name in client.sent if verb == "list"] == ["PersistentVolume"]
    client.fail["get", "Namespace"] = KubeError(403, "Forbidden", "no")
    assert look_at_objects(client, NAMES).namespace == {}  # type: ignore[arg-type]
    client.fail["get", "Namespace"] = KubeError(500, "InternalError", "no")
    with pytest.raises(KubeError):
        look_at_objects(client, NAMES)  # type: ignore[arg-type]


NOT_ALLOWED = KubeError(403, "Forbidden", "cannot list persistentvolumes at the cluster scope")


@pytest.mark.parametrize(
    ("storage", "volumes", "raises"),
    [
        ("dynamic", True, False),
        ("dynamic", None, False),
        ("local", True, True),
        ("local", None, True),
        (None, True, True),  # local is the default of a cluster that is made
        (None, None, False),  # a status of nothing needs no right
    ],
)
def test_an_account_of_one_namespace_need_not_see_volumes_but_local_ones(
    storage: str | None, volumes: bool | None, raises: bool
) -> None:
    client = Client(Clock())
    client.put({"kind": "Namespace", "metadata": {"name": "db"}})
    if storage:
        client.put(statefulset(spec(storage=storage)))
    client.fail["list", "PersistentVolume"] = NOT_ALLOWED
    if raises:
        with pytest.raises(KubeError, match="cannot list persistentvolumes"):
            look_at_objects(client, NAMES, volumes=volumes)  # type: ignore[arg-type]
    else:
        assert look_at_objects(client, NAMES, volumes=volumes).volumes == {}  # type: ignore[arg-type]


def test_a_removal_that_was_interrupted_still_knows_that_it_needs_no_volumes() -> None:
    client = Client(Clock())
    client.put({"kind": "Namespace", "metadata": {"name": "db"}})
    removing = replace(JOURNAL, operation={"name": "remove", "options": {"storage": "dynamic"}})
    client.put(configmap(NAMES, removing.data()))
    client.fail["list", "PersistentVolume"] = NOT_ALLOWED
    assert look_at_objects(client, NAMES).volumes == {}  # type: ignore[arg-type]
    client.fail["list", "PersistentVolume"] = KubeError(500, "InternalError", "no")
    with pytest.raises(KubeError):
        look_at_objects(client, NAMES)  # type: ignore[arg-type]


def test_a_status_of_nothing_is_an_answer_for_an_account_of_one_namespace() -> None:
    client = Client(Clock())
    client.fail["list", "PersistentVolume"] = NOT_ALLOWED
    assert status.info(client, {"name": "kw", "namespace": "db"}, "ann")["exists"] is False  # type: ignore[arg-type]


class Engine:
    """Answers by the first table or setting a statement names; EngineError where there is no answer."""

    profile = PROFILES["kwdb"]

    def __init__(self, rows: Any = None, **tables: list[dict[str, Any]]) -> None:
        self.rows, self.tables, self.asked = rows, tables, []

    def node_status(self, *, decommission: bool, pods: list[str]) -> Any:
        assert decommission
        self.asked.append(pods)
        if self.rows is None:
            raise EngineError("hung", "node status did not answer", pods[0], "node status")
        return self.rows

    def node_id(self, name: str) -> int:
        self.asked.append(name)
        return 4

    def sql_rows(self, statement: str) -> Any:
        table = next((name for name in self.tables if f"kwdb_internal.{name}" in statement), None)
        if table is None:
            raise EngineError("hung", "sql did not answer", "kw-0", "sql")
        return self.tables[table]


def test_only_ready_pods_are_asked_lowest_first() -> None:
    engine = Engine([row(1, 0)])
    seen = observed(pod(10), pod(2), pod(0, ready=False))
    found = ask_engine(engine, seen)  # type: ignore[arg-type]
    assert engine.asked == [["kw-2", "kw-10"]] and found.nodes == (row(1, 0),) and found.engine_silence == ""


def test_nobody_to_ask_and_nobody_who_answers() -> None:
    assert ask_engine(Engine(), observed(pod(0, ready=False))).engine_silence == "no pod is ready"  # type: ignore[arg-type]
    hung = ask_engine(Engine(), live())  # type: ignore[arg-type]
    assert hung.nodes is None and "node status did not answer" in hung.engine_silence


def test_a_shared_address_is_settled_by_the_pod_itself() -> None:
    engine = Engine([row(1, 0), row(2, 1), row(4, 2), row(9, 2)])
    found = ask_engine(engine, live())  # type: ignore[arg-type]
    assert found.ids == {"kw-2": 4} and engine.asked[1:] == ["kw-2"]
    chosen = found.node_of("kw-2")
    assert chosen is not None and chosen.id == 4


def test_one_pod_that_does_not_tell_its_id_loses_nobody_elses_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(_self: Any, name: str) -> int:
        if name == "kw-2":
            raise EngineError("hung", "did not answer", name, "sql")
        return 2

    monkeypatch.setattr(Engine, "node_id", told)
    rows = [row(1, 0), row(2, 1), row(8, 1), row(4, 2, is_live=False), row(9, 2)]
    found = ask_engine(Engine(rows), live())  # type: ignore[arg-type]
    assert found.nodes == tuple(rows) and found.ids == {"kw-1": 2} and found.engine_silence == ""
    chosen = found.node_of("kw-2")
    assert chosen is not None and chosen.id == 9, "the live one"


ZONES = [
    {"target": "x", "range_name": name, "database_name": database, "table_name": table, "raw_config_sql": f"ALTER …\n\tnum_replicas = {count},\n\tx = 1"}
    for name, database, table, count in (
        ("default", None, None, 3), ("meta", None, None, 5), ("liveness", None, None, 6), ("system", None, None, 7), ("timeseries", None, None, 8),
        (None, "bank", None, 9), (None, "bank", "accounts", 1),
    )
]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "database", "table", "wanted"),
    [
        ("/Min", "", "", 5), ("", "", "", 5), ("/Meta2/x", "", "", 5), ("/System/NodeLiveness", "", "", 6), ("/System/NodeLivenessMax", "", "", 7),
        ("/System/tsd", "", "", 8), ("/System/\"x\"", "", "", 7), ("/Table/11", "", "", 3), ("/Table/60", "bank", "accounts", 1),
        ("/Table/61", "bank", "other", 9), ("/Table/62", "shop", "orders", 3), (None, None, None, 5),
    ],
)  # fmt: skip
def test_how_many_replicas_a_range_wants(start: Any, database: Any, table: Any, wanted: int) -> None:
    one = {
        "range_id": "7",
        "start_pretty": start,
        "database_name": database,
        "table_name": table,
        "replicas": "{1,2,13}",
    }
    found = look_deep(Engine(zones=ZONES, ranges_no_leases=[one], jobs=[], kv_store_status=[]), live())  # type: ignore[arg-type]
    assert found is not None
    name = ".".join(part for part in (database, table) if part)
    assert found.ranges == (Range(7, name, frozenset({1, 2, 13}), wanted),)


def test_jobs_and_stores() -> None:
    stores = [{"node_id": "1", "capacity": "100", "available": "9e1", "used": None}]
    engine = Engine(zones=[{"target": None, "range_name": "x", "database_name": None, "table_name": None, "raw_config_sql": None}],
                    ranges_no_leases=[{"range_id": "1", "start_pretty": "/Table/1", "database_name": "", "table_name": "", "replicas": None}],
                    jobs=[{"job_id": "5", "job_type": "IMPORT"}], kv_store_status=stores)  # fmt: skip
    found = look_deep(engine, live())  # type: ignore[arg-type]
    assert found is not None and found.jobs == (Job("5", "IMPORT"),) and found.stores == (Store(1, 100, 90, 0),)
    assert found.ranges == (Range(1, "", frozenset(), 3),), "three is the engine's default"
    assert (found.constraints, found.largest, found.whole_for, found.apart) == ((), 0, 0.0, 0.0)


def test_without_sql_there_is_no_deep_view() -> None:
    assert look_deep(Engine(zones=ZONES), live()) is None  # type: ignore[arg-type]


def zone(
    target: str, database: str | None, table: str | None, *lines: str, range_name: str | None = None
) -> dict[str, Any]:
    """A row of the zones, with what it sets itself; what it inherits is not in it (engine transcripts)."""
    config = "".join(f"\n\t{line}," for line in (*lines, "lease_preferences = '[]'")).rstrip(",")
    named = {"range_name": range_name, "database_name": database, "table_name": table}
    return {"target": target, **named, "raw_config_sql": f"ALTER {target} CONFIGURE ZONE USING{config}"}


def zoned(*zones: dict[str, Any]) -> Any:
    found = look_deep(Engine(zones=list(zones), ranges_no_leases=[], jobs=[], kv_store_status=[]), live())  # type: ignore[arg-type]
    assert found is not None
    return found


def test_what_zones_require_of_nodes() -> None:
    found = zoned(
        zone("RANGE default", None, None, "num_replicas = 3", "constraints = '[]'", range_name="default"),
        zone("DATABASE bank", "bank", None, "num_replicas = 5", "constraints = '[+region=a]'"),
        zone("TABLE bank.accounts", "bank", "accounts", "constraints = '{+region=a: 1, +region=b: 2}'"),
    )
    assert [(item.target, item.tiers, item.count, item.every) for item in found.constraints] == [
        ("DATABASE bank", ("region=a",), 5, True),
        ("TABLE bank.accounts", ("region=a",), 1, False),
        ("TABLE bank.accounts", ("region=b",), 2, False),
    ]


@pytest.mark.parametrize(
    ("own", "of_database", "of_default", "count"),
    [(3, 5, 7, 3), (None, 5, 7, 5), (None, None, 7, 7), (None, None, None, 3), (1, 5, 7, 1)],
)
def test_a_zone_keeps_as_many_as_the_one_above_it(
    own: int | None, of_database: int | None, of_default: int | None, count: int
) -> None:
    def number(value: int | None) -> list[str]:
        return [] if value is None else [f"num_replicas = {value}"]

    found = zoned(
        zone("TABLE bank.accounts", "bank", "accounts", *number(own), "constraints = '[+region=a]'"),
        zone("DATABASE bank", "bank", None, *number(of_database)),
        zone("RANGE default", None, None, *number(of_default), range_name="default"),
    )
    assert [item.count for item in found.constraints] == [count]


def test_the_largest_range_of_all_zones() -> None:
    assert zoned(
        zone("RANGE default", None, None, "range_min_bytes = 134217728", "range_max_bytes = 536870912", range_name="default"),
        zone("TABLE bank.big", "bank", "big", "range_max_bytes = 1073741824"),
        zone("TABLE bank.small", "bank", "small", "range_max_bytes = 1048576"),
        zone("TABLE bank.other", "bank", "other", "gc.ttlseconds = 600"),
    ).largest == 1073741824  # fmt: skip
    unnamed = zone("x", "bank", None, "constraints = '[+region=a]'") | {"target": None}
    assert zoned(unnamed).constraints[0].target == "a zone"
    assert (
        zoned(
            {"target": None, "range_name": None, "database_name": None, "table_name": None, "raw_config_sql": None}
        ).largest
        == 0
    )


# ---- status


def shown(seen: Any, known: Any = None, drift: Any = (), **asked: Any) -> list[str]:
    client = Client(Clock())
    ctx = Context(client, spec(**asked), PROFILES[asked.get("engine", "kwdb")], "ann")  # type: ignore[arg-type]
    ctx.seen = seen
    return status.status_lines(ctx, status.node_list(seen, {"w1": "a"}), known, drift)


def test_a_volume_that_is_being_deleted_under_its_pod_is_said_so() -> None:
    going = volume(1, uid="claim-1")
    going["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"
    told = [line for line in shown(live(extra=[going])) if line.startswith("  volume   ")]
    assert len(told) == 1 and told[0].startswith("  volume   PersistentVolume db.kw-1 of kw-1 is being deleted")
    assert not [line for line in shown(live()) if line.startswith("  volume   ")]


def test_status_in_ten_seconds() -> None:
    history = ({"name": "upgrade", "outcome": "done", "until": "09:12", "who": "awx-job-1"},)
    working = replace(
        JOURNAL,
        history=history,
        operation={"name": "scale_in", "step": "scale_in/kw-2", "since": "09:41", "who": "ann"},
    )
    rows = [
        row(1, 0, started_at="2026-11-23 09:00:01.123456+00:00"),
        row(2, 1, is_live=False),
        row(7, 2, is_decommissioning=True),
        gone(9),
    ]
    seen = live(nodes=rows, journal=working, pods=[pod(0), pod(1, ready=False), pod(2)])
    lines = shown(seen, deep(ranges((1, 2, 7), 4)), ["settle"])
    assert (
        lines[0]
        == "kw   KaiwuDB V3.2.1 · 1 of 3 nodes live · ranges 4, 0 unavailable, 4 under-replicated · insecure (!)"
    )
    cells = [line.split() for line in lines[1:6]]
    assert cells[0] == [
        "pod",
        "node",
        "kubernetes",
        "node",
        "zone",
        "volume",
        "size",
        "build",
        "live",
        "replicas",
        "started",
    ]
    assert cells[1] == [
        "kw-0",
        "1",
        "w1",
        "a",
        "db.kw-0",
        "10Gi",
        "V3.2.1",
        "yes",
        "20",
        "2026-11-23",
        "09:00:01+00:00",
    ]
    assert cells[2] == ["kw-1", "2", "w2", "-", "db.kw-1", "10Gi", "V3.2.1", "no", "20", "-", "not", "ready"]
    assert cells[3][-1] == "leaving" and cells[4][:2] == ["-", "9"]
    assert lines[6] == (
        "  last     upgrade done, 09:12, awx-job-1     running  scale_in at scale_in/kw-2 since 09:41, ann     drift  settle"
    )
    assert lines[7] == "  SQL      kubectl -n db exec -it kw-0 -- /kaiwudb/bin/kwbase sql --insecure"
    assert (
        lines[8]
        == "  HTTP     kubectl -n db port-forward service/kw-public 8080 (this build has no Admin UI; /health answers)"
    )


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ({"name": "upgrade", "was": {"image": OLD, "replicas": 3}, "image": NEW, "replicas": 3, "took": 41.0}, "upgrade 3.2.1 → 3.2.2 done, 41 s, "),
        ({"name": "scale_in", "was": {"image": OLD, "replicas": 5}, "image": OLD, "replicas": 3, "took": 192}, "scale_in 5 → 3 done, 3 min 12 s, "),
        ({"name": "scale_out", "was": {"replicas": 3}, "replicas": 5}, "scale_out 3 → 5 done, "),
        ({"name": "upgrade", "was": {"image": "a/kwdb:1"}, "image": "b/kwdb:1"}, "upgrade a/kwdb:1 → b/kwdb:1 done, "),
        ({"name": "upgrade", "was": {"image": "a@sha256:1"}, "image": "a:2"}, "upgrade a@sha256:1 → a:2 done, "),
        ({"name": "upgrade", "was": {"image": OLD}, "image": OLD}, "upgrade done, "),
        ({"name": "reconfigure", "was": {"image": OLD, "replicas": 3}, "image": OLD, "replicas": 3}, "reconfigure done, "),
        ({"name": "upgrade", "was": "x", "image": NEW, "took": "x"}, "upgrade done, "),
        ({"name": "upgrade", "was": {"image": None}, "image": NEW}, "upgrade done, "),
    ],
)  # fmt: skip
def test_the_last_operation_says_from_what_to_what_and_how_long(last: dict[str, Any], told: str) -> None:
    ended = {**last, "outcome": "done", "until": "2026-11-23T09:12:00Z", "who": "ann"}
    line = shown(live(journal=replace(JOURNAL, history=(ended,))))[-3]
    assert line == f"  last     {told}2026-11-23T09:12:00Z, ann     running  nothing     drift  none"


def test_sql_is_spoken_with_the_first_pod_that_is_ready() -> None:
    away = live(pods=[pod(0, ready=False), pod(1), pod(2)])
    assert "exec -it kw-1 --" in shown(away)[-2]
    nobody = live(pods=[pod(number, ready=False) for number in range(3)])
    assert "exec -it kw-0 --" in shown(nobody)[-2]


def test_status_of_what_does_not_answer() -> None:
    assert " · no node answers: cannot dial server · " in shown(silent(live()))[0]
    fresh = silent(live(pods=[pod(number, ready=False) for number in range(3)], journal=Journal()))
    assert shown(fresh)[0] == f"kw   KaiwuDB {OLD} · not initialised · insecure (!)"
    assert shown(live())[-3] == "  last     nothing     running  nothing     drift  none"


def test_status_says_what_a_person_must_not_forget() -> None:
    marked = statefulset(spec())
    marked["metadata"]["annotations"]["kaiwudb.kubernetes/paused"] = "09:00 by ann"
    held = replace(JOURNAL, unfinalized={"version": "20.1-3", "image": OLD, "since": "08:00", "who": "ann"})
    lines = shown(live(sts=marked, journal=held))
    assert lines[-4:-2] == [
        "  paused   09:00 by ann: runs only look until one says paused=false",
        f"  version  held at 20.1-3 since 08:00: can go back to {OLD} until finalised",
    ]
    assert not [line for line in shown(live()) if line.split()[0] in ("paused", "version")]
    over = replace(JOURNAL, unfinalized={**held.unfinalized, "set": False})
    assert shown(live(journal=over))[-3] == (
        "  version  20.1-3 is not held any more: it rises by itself once every node runs one release"
    )


def test_where_the_ui_is() -> None:
    open_ = live(of=spec(ui="nodeport", ui_node_port=30080))
    assert (
        shown(open_)[-1]
        == "  HTTP     http://NODE:30080 on any Kubernetes node (this build has no Admin UI; /health answers)"
    )
    assert shown(open_, engine="bini")[-1] == "  HTTP     http://NODE:30080 on any Kubernetes node"


def test_nodes_as_data() -> None:
    first, *_rest, stray = status.node_list(live(nodes=[row(1, 0), row(2, 1), row(3, 2), gone(8)]), {"w1": "a"})
    assert first == {
        "pod": "kw-0", "ordinal": 0, "id": 1, "kubernetes_node": "w1", "zone": "a", "ready": True, "volume": "db.kw-0", "size": "10Gi", "image": OLD,
        "address": "kw-0.kw.db.svc.cluster.local:26257", "build": "V3.2.1", "live": True, "available": True, "replicas": 20, "decommissioning": False,
        "draining": False, "started_at": None, "locality": None,
    }  # fmt: skip
    assert (stray["pod"], stray["id"], stray["decommissioning"]) == (None, 8, True)
    missing = status.node_list(live(pods=[pod(0), pod(1, image=NEW)]), {})
    assert [(item["pod"], item["image"], item["ready"]) for item in missing] == [
        ("kw-0", OLD, True),
        ("kw-1", NEW, True),
        ("kw-2", None, False),
    ]


def test_the_documented_volume_is_what_the_module_returns() -> None:
    """Field by field, the sample and its names; made from a volume whose annotations a run wrote."""
    documented = yaml.safe_load(kaiwudb_cluster_info.RETURN)["volumes"]
    (sample,) = documented["sample"]
    of = spec(name="orders", namespace="orders", storage_size="500Gi")
    noted = fingerprint.Fingerprint(ID, 4, 4, 3, "orders/orders", "2026-11-23T09:00:00Z")
    made = manifests.volume(of, 3, "w4")
    made["metadata"]["annotations"] = {names.FINGERPRINT: noted.text(), names.RETIRED: sample["retired"]}
    made["status"] = {"phase": "Released"}
    returned = status._volume(made, None)
    assert returned == sample and list(returned) == list(documented["contains"])
    assert list(returned["fingerprint"]) == list(documented["contains"]["fingerprint"]["contains"])
