# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""When a live object says what is wanted, and the smallest patch when it does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import manifests
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.compare import differences, paths, repair
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import spec


@pytest.mark.parametrize(
    ("desired", "live", "found"),
    [
        ({"a": 1}, {"a": 1, "added by the server": 2}, {}),
        ({"a": 1}, {"a": 2}, {"a": (2, 1)}),
        ({"a": 1}, {}, {"a": (None, 1)}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3, "d": 4}}, {"a.c": (3, 2)}),
        ({"a": {"b": 1}}, {"a": None}, {"a": (None, {"b": 1})}),
        ({"a": {"b": 1}}, {"a": "text"}, {"a": ("text", {"b": 1})}),
        ({"a": {}}, {}, {}),
        ({"a": {}}, {"a": None}, {}),
        ({"a": []}, {}, {}),
        ({"a": []}, {"a": [1]}, {"a": ([1], [])}),
        ({"a": [1]}, {}, {"a": (None, [1])}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": ([1], [1, 2])}),
        ({"a": [1, 2]}, {"a": [2, 1]}, {"a[0]": (2, 1), "a[1]": (1, 2)}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "default": 3}]}, {}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, {"a[0].b": (2, 1)}),
        ({"a": False}, {"a": False}, {}),
        ({"a": False}, {}, {"a": (None, False)}),
    ],
)
def test_only_what_is_said_is_compared(desired: Any, live: Any, found: dict[str, Any]) -> None:
    assert differences(desired, live) == found


@pytest.mark.parametrize("name", ["selector", "matchLabels", "data"])
def test_one_more_key_in_a_selector_is_a_difference(name: str) -> None:
    found = differences({"spec": {name: {"a": "1"}}}, {"spec": {name: {"a": "1", "b": "2"}}})
    assert found == {f"spec.{name}.b": ("2", None)}


@pytest.mark.parametrize("name", ["requests", "limits", "capacity"])
def test_quantities_are_compared_by_value(name: str) -> None:
    assert (
        differences({name: {"cpu": "0.5", "memory": "1024Mi"}}, {name: {"cpu": "500m", "memory": "1Gi", "more": "1"}})
        == {}
    )
    assert differences({name: {"cpu": "0.5"}}, {name: {"cpu": "0.6"}}) == {f"{name}.cpu": ("0.6", "0.5")}
    assert differences({name: {"cpu": "0.5"}}, {name: {}}) == {f"{name}.cpu": (None, "0.5")}


def test_elsewhere_texts_are_compared_as_texts() -> None:
    assert differences({"data": {"size": "1Gi"}}, {"data": {"size": "1024Mi"}}) == {"data.size": ("1024Mi", "1Gi")}


@pytest.mark.parametrize(
    ("desired", "live", "patch"),
    [
        ({"spec": {"type": "ClusterIP"}}, {"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1"}}, {}),
        ({"spec": {"type": "A", "b": 1}}, {"spec": {"type": "B", "b": 1, "c": 2}}, {"spec": {"type": "A"}}),
        ({"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"b": "2"}}}, {"metadata": {"labels": {"a": "1"}}}),
        ({"metadata": {"labels": {"a": "1"}}}, {"metadata": {}}, {"metadata": {"labels": {"a": "1"}}}),
        ({"spec": {"ports": [{"port": 1}]}}, {"spec": {"ports": [{"port": 2, "x": 3}]}}, {"spec": {"ports": [{"port": 1}]}}),
        ({"spec": {"selector": {"a": "1"}}}, {"spec": {"selector": {"a": "1", "b": "2"}}}, {"spec": {"selector": {"b": None}}}),
        ({"spec": {"selector": {"a": "1"}}}, {"spec": {"selector": {"a": "9", "b": "2"}}}, {"spec": {"selector": {"a": "1", "b": None}}}),
        ({"apiVersion": "v1", "kind": "X", "a": 1}, {"a": 1}, {}),
    ],
)  # fmt: skip
def test_the_patch_says_only_what_differs(desired: Any, live: Any, patch: dict[str, Any]) -> None:
    assert repair(desired, live) == patch


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ({"a": 1}, {"a": 1}, set()),
        ({"a": 1}, {"a": 2}, {"a"}),
        ({"a": 1}, {"a": 1, "b": 2}, {"b"}),  # whichever of them says it
        ({"a": 1, "b": 2}, {"a": 1}, {"b"}),
        ({"a": {"b": 1}}, {"a": {"c": 1}}, {"a.b", "a.c"}),
        ({"a": [1]}, {"a": [1, 2]}, {"a"}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]}, {"a[0].c"}),
        ({"a": {}}, {}, set()),
        ({"limits": {"cpu": "0.5"}}, {"limits": {"cpu": "500m"}}, set()),
    ],
)
def test_where_two_objects_differ(one: Any, other: Any, found: set[str]) -> None:
    here, there = one, other
    assert paths(here, there) == paths(there, here) == found


def _merged(live: Any, patch: Any) -> Any:
    """RFC 7386, as the API server does it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


@pytest.mark.parametrize("index", range(5))
def test_a_repaired_object_says_what_is_wanted_and_keeps_what_others_added(index: int) -> None:
    wanted = manifests.objects(spec(ui="nodeport"), PROFILES["kwdb"])[index]
    live = copy.deepcopy(wanted)
    live["metadata"]["annotations"] = {"added": "by others"}
    live["metadata"]["labels"].pop("app.kubernetes.io/managed-by")
    if "spec" in live:
        selector = live["spec"]["selector"].get("matchLabels", live["spec"]["selector"])
        selector.update({"app.kubernetes.io/name": "edited", "extra": "x"})
        live["spec"]["ports"] = []
        live["spec"]["clusterIPs"] = ["10.0.0.1"]
    mended = _merged(live, repair(wanted, live))
    assert differences(wanted, live) and differences(wanted, mended) == {}
    assert mended["metadata"]["annotations"] == {"added": "by others"}
    assert "spec" not in live or mended["spec"]["clusterIPs"] == ["10.0.0.1"]
