# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The cluster's memory: what is written is read again, and nonsense is nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.journal import KEPT, STEPS_KEPT, Journal

HELD = {"version": "20.1-3", "image": "kwdb/kwdb:3.2.1", "since": "09:00", "who": "ann"}


def read(**fields: Any) -> Journal:
    """From a ConfigMap in which somebody wrote these."""
    return Journal.read({"data": {"journal": json.dumps(fields)}})


def test_what_is_written_is_read_again() -> None:
    journal = Journal(
        "id",
        {"who": "a"},
        {"at": "t"},
        {"name": "upgrade", "step": "upgrade/kw-2"},
        ({"name": "create"},),
        {"cache": "1GiB", "image_pull_secrets": ["a"]},
        {"image": "x:2", "nodes": ["w1"], "build": "V3.2.2"},
        {"pods": ["kw-3"], "replicas": 3},
        HELD,
    )
    assert Journal.read({"data": journal.data()}) == journal
    assert list(journal.data()) == ["journal"]


@pytest.mark.parametrize(
    "configmap",
    [
        None, {}, {"data": {}}, {"data": None}, {"data": {"other": "x"}}, {"data": {"journal": ""}}, {"data": {"journal": "{not json"}},
        {"data": {"journal": "null"}}, {"data": {"journal": "[]"}}, {"data": {"journal": "3"}}, {"data": {"journal": '"text"'}},
        {"data": {"journal": '{"unknown": 1}'}}, {"data": {"journal": '{"operation": [], "history": null, "initialized": 7}'}},
        {"data": {"journal": '{"operation": "scale_in", "history": {"a": 1}, "cluster_id": 7, "made_namespace": "yes"}'}},
        {"data": {"journal": '{"history": [1, "x", null, {"step": "x"}], "operation": {"step": "scale_in/kw-2"}}'}},
    ],
)  # fmt: skip
def test_nonsense_is_an_empty_journal(configmap: Any) -> None:
    assert Journal.read(configmap) == Journal()


def test_one_good_field_survives_the_nonsense_beside_it() -> None:
    text = json.dumps({"cluster_id": "id", "operation": 5, "history": [{"name": "create"}, 7]})
    assert Journal.read({"data": {"journal": text}}) == Journal(cluster_id="id", history=({"name": "create"},))


def test_an_operation_keeps_its_beginning_over_runs_and_takes_the_new_facts() -> None:
    first = Journal().begin("scale_in", "ann", "10:00", step="a", pods=["kw-3"])
    assert first.operation == {"name": "scale_in", "who": "ann", "since": "10:00", "step": "a", "pods": ["kw-3"]}
    again = first.begin("scale_in", "bob", "11:00", step="b")
    assert again.operation == {"name": "scale_in", "who": "bob", "since": "10:00", "step": "b", "pods": ["kw-3"]}
    other = again.begin("upgrade", "bob", "12:00", step="c")
    assert other.operation == {"name": "upgrade", "who": "bob", "since": "12:00", "step": "c"}


def test_an_operation_within_another_hands_back_to_it() -> None:
    """The machine of kw-1 dies half-way through an upgrade: its node is decommissioned, then the upgrade goes on."""
    half = {"step": "upgrade/kw-1", "from": {"image": "x:1"}, "down": ["kw-1"], "steps": [{"step": "a", "seconds": 1}]}
    upgrade = replace(Journal(), pulled={"image": "x:2"}).begin("upgrade", "ann", "2026-11-23T10:00:00Z", **half)
    inner = upgrade.within("decommission", "bob", "2026-11-23T11:00:00Z", node=2)
    again = inner.within("decommission", "bob", "2026-11-23T11:05:00Z", node=2)
    assert again == inner == Journal.read({"data": inner.data()}) and inner.operation["since"] == "2026-11-23T11:00:00Z"
    ended = inner.end("2026-11-23T11:10:00Z", "done")
    assert ended.operation == upgrade.operation and ended.pulled == upgrade.pulled
    assert [(item["name"], "within" in item) for item in ended.history] == [("decommission", False)]
    assert Journal().within("decommission", "bob", "x").end("y", "done").operation == {}


def test_an_operation_that_ends_becomes_history_and_only_the_last_are_kept() -> None:
    journal = Journal(cluster_id="id")
    assert journal.end("10:00", "done") is journal
    for number in range(KEPT + 3):
        journal = journal.begin(f"op{number}", "ann", "2026-11-23T23:59:30Z").end("2026-11-24T00:04:30Z", "done")
    assert journal.operation == {} and journal.cluster_id == "id" and len(journal.history) == KEPT == 20
    assert journal.history[0]["name"] == "op3"
    assert journal.history[-1] == {
        "name": "op22",
        "who": "ann",
        "since": "2026-11-23T23:59:30Z",
        "until": "2026-11-24T00:04:30Z",
        "outcome": "done",
        "took": 300.0,
    }


def test_how_long_an_operation_took_is_over_all_its_runs_and_never_negative() -> None:
    since, later = "2026-11-23T10:00:00Z", "2026-11-23T09:00:00Z"
    journal = Journal().begin("upgrade", "ann", since).begin("upgrade", "bob", "2026-11-23T10:30:00Z")
    assert journal.end("2026-11-23T11:00:00Z", "done").history[-1]["took"] == 3600.0
    assert journal.end(later, "done").history[-1]["took"] == 0.0, "another machine's clock"
    for nonsense in ("10:00", 5, None, []):
        assert "took" not in Journal(operation={"name": "upgrade", "since": nonsense}).end(since, "done").history[-1]


@pytest.mark.parametrize("nonsense", ["x", 5, 1.5, True, [], [1], None, [["image", "x"]]])
@pytest.mark.parametrize("name", ["options", "unfinalized", "leaving", "pulled"])
def test_nonsense_in_what_is_kept_is_nothing(name: str, nonsense: Any) -> None:
    """A hold that nobody can read is none, and options that nobody can read are not known."""
    found = read(cluster_id="id", **{name: nonsense})
    assert found == Journal(cluster_id="id") and getattr(found, name) == {}


@pytest.mark.parametrize("nonsense", ["x", 5, True, [], [1], None])
@pytest.mark.parametrize("name", ["moving", "from", "was", "undoing", "at_step", "within"])
def test_nonsense_inside_an_operation_is_nothing(name: str, nonsense: Any) -> None:
    found = read(operation={"name": "upgrade", "step": "upgrade/kw-2", name: nonsense})
    assert (found.operation.get(name) or {}) == {} and found.operation["step"] == "upgrade/kw-2"


@pytest.mark.parametrize("nonsense", ["x", 5, True, {"a": 1}, None])
def test_nonsense_instead_of_steps_is_none(nonsense: Any) -> None:
    found = read(operation={"name": "upgrade", "steps": nonsense})
    assert list(found.operation.get("steps") or ()) == []


def test_steps_without_their_time_are_no_steps() -> None:
    good = {"step": "upgrade/kw-2", "seconds": 3.5, "at": "t"}
    found = read(
        operation={"name": "upgrade", "steps": [good, 5, "x", {}, {"step": "upgrade/kw-1"}, {"seconds": 4}, None]}
    )
    assert found.operation["steps"] == [good]


def test_what_was_sound_inside_an_operation_stays() -> None:
    sound = {"name": "upgrade", "who": "ann", "since": "10:00", "step": "upgrade/kw-2", "image": "x:1", "replicas": 3, "pods": ["kw-3"],
             "moving": {"node": 4, "left": 7}, "from": {"image": "x:0", "options": {}},
             "undoing": {"run": "r"}, "at_step": {"id": "a"}, "steps": [{"step": "a", "seconds": 1}]}  # fmt: skip
    assert read(operation=sound).operation == sound


# ---- who is leaving


def test_who_was_told_to_leave_is_remembered_until_it_is_gone_or_stays() -> None:
    journal = Journal(leaving={"pods": ["kw-3", "kw-4"], "replicas": 3})
    assert journal.leaving_pods == ["kw-3", "kw-4"]
    one = journal.left("kw-4")
    assert one.leaving == {"pods": ["kw-3"], "replicas": 3} and one.left("kw-9").leaving == one.leaving
    assert one.left("kw-3").leaving == {} and Journal().left("kw-3").leaving == {}
    other = journal.begin("upgrade", "ann", "10:00").end("11:00", "done")
    assert other.leaving_pods == ["kw-3", "kw-4"], "another operation between changes nothing"


@pytest.mark.parametrize(
    ("pod", "leaving"),
    [
        ("kw-4", {}),
        ("kw-3", {"pods": ["kw-4"], "replicas": 4}),
        ("kw-9", {"pods": ["kw-3", "kw-4"], "replicas": 3}),
        ("", {"pods": ["kw-3", "kw-4"], "replicas": 3}),
    ],
)
def test_below_one_that_stays_nobody_leaves(pod: str, leaving: dict[str, Any]) -> None:
    assert Journal(leaving={"pods": ["kw-3", "kw-4"], "replicas": 3}).stays(pod).leaving == leaving


@pytest.mark.parametrize(
    "nonsense", [{}, {"pods": None}, {"pods": "kw-3"}, {"pods": {"kw-3": 1}}, {"pods": 3}, {"replicas": 3}]
)
def test_nonsense_about_who_is_leaving_is_nobody(nonsense: dict[str, Any]) -> None:
    assert read(leaving=nonsense).leaving_pods == []


# ---- the steps of an operation and their times


def test_steps_are_added_to_the_operation_under_way() -> None:
    one, two, three = ({"step": f"upgrade/kw-{number}", "at": "t", "seconds": 4.0} for number in (2, 1, 0))
    journal = Journal().begin("upgrade", "ann", "10:00").timed([one]).timed([two, three])
    assert journal.operation["steps"] == [one, two, three]
    assert journal.begin("upgrade", "bob", "11:00").operation["steps"] == [one, two, three], "over runs too"
    assert journal.end("12:00", "done").history[-1]["steps"] == [one, two, three], "and in the history"
    assert "steps" not in journal.begin("scale_in", "ann", "12:00").operation


def test_without_an_operation_or_steps_nothing_is_added() -> None:
    idle, busy = Journal(cluster_id="id"), Journal().begin("upgrade", "ann", "10:00")
    assert idle.timed([{"step": "a", "seconds": 1}]) is idle and busy.timed([]) is busy


def test_only_the_last_steps_are_kept() -> None:
    journal = (
        Journal()
        .begin("upgrade", "ann", "10:00")
        .timed([{"step": str(number), "seconds": 1} for number in range(STEPS_KEPT)])
    )
    again = journal.timed([{"step": "last", "seconds": 1}])
    assert len(again.operation["steps"]) == STEPS_KEPT
    assert (again.operation["steps"][0]["step"], again.operation["steps"][-1]["step"]) == ("1", "last")


# ---- the end


@pytest.mark.parametrize("outcome", ["done", "undone", "rolled back"])
def test_what_is_of_use_only_under_way_does_not_become_history(outcome: str) -> None:
    passing = {"moving": {"node": 4}, "step": "upgrade/kw-0", "at_step": {"id": "a"},
               "from": {"image": "x"}, "undoing": {"run": "r"}}  # fmt: skip
    journal = Journal().begin("upgrade", "ann", "10:00", image="x:2", replicas=3, **passing)
    assert journal.end("11:00", outcome).history == (
        {
            "name": "upgrade",
            "who": "ann",
            "since": "10:00",
            "image": "x:2",
            "replicas": 3,
            "until": "11:00",
            "outcome": outcome,
        },
    )


def test_a_canary_that_is_held_still_knows_where_it_came_from() -> None:
    """The run that goes on finds the new template in place: what was before is only told here."""
    origin = {"image": "kwdb/kwdb:3.2.1", "options": {"cache": "1GiB"}}
    held = Journal().begin("upgrade", "ann", "10:00", **{"from": origin, "moving": {"node": 4}}).end("11:00", "held")
    assert held.history[-1]["from"] == origin and "moving" not in held.history[-1]


@pytest.mark.parametrize("outcome", ["done", "held", "rolled back"])
def test_what_was_pulled_is_of_use_until_the_upgrade_ends(outcome: str) -> None:
    """Other operations between do not pull anew; the next upgrade does, for nodes forget images."""
    pulled = Journal(pulled={"image": "x:2", "nodes": ["w1"]}).begin("scale_out", "ann", "10:00").end("10:30", "done")
    assert pulled.pulled == {"image": "x:2", "nodes": ["w1"]}
    assert pulled.begin("upgrade", "ann", "11:00").pulled == pulled.pulled
    assert pulled.begin("upgrade", "ann", "11:00").end("12:00", outcome).pulled == {}


def test_a_hold_of_the_version_outlives_operations() -> None:
    journal = Journal(unfinalized=HELD, options={"cache": "1GiB"}).begin("upgrade", "ann", "10:00").end("11:00", "done")
    assert (journal.unfinalized, journal.options) == (HELD, {"cache": "1GiB"})
