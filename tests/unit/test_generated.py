# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is generated from the table of options is fresh, and what is generated fits the modules it calls."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
# All but the one that runs on a Kubernetes node take connection options, and so are in the action group.
CONNECTED = [name for name in MODULES if name != "kaiwudb_host_storage"]


def _generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tests/tools/generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    return module


generate = _generate()


def documented(module: str) -> dict[str, dict]:
    """The options a module documents, those of this collection's fragments included."""
    tree = ast.parse((ROOT / f"plugins/modules/{module}.py").read_text(encoding="utf-8"))
    text = next(
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION"
    )
    data = yaml.safe_load(text)
    options = dict(data.get("options") or {})
    for name in data.get("extends_documentation_fragment") or []:
        file, _dot, part = name.removeprefix("kaiwudb.kubernetes.").partition(".")
        fragment = generate.load(f"plugins/doc_fragments/{file}.py").ModuleDocFragment
        options |= yaml.safe_load(getattr(fragment, part.upper() or "DOCUMENTATION")).get("options") or {}
    return options


def passed_by(task) -> set[str]:
    return (set() if task.node else set(generate.CONNECTION)) | set(task.options) | set(task.args)


def test_nothing_is_stale():
    assert generate.stale(generate.outputs()) == {}


def test_a_changed_table_is_noticed(monkeypatch):
    name = "replicas"
    changed = generate.OPTIONS.Option(name, "replicas", ("Something else.",), default=5, scope="object")
    monkeypatch.setitem(generate.OPTIONS.BY_NAME, name, changed)
    found = generate.stale(generate.outputs())
    assert Path("plugins/doc_fragments/cluster.py") in found
    assert Path("roles/scale/README.md") in found


@pytest.mark.parametrize("task", generate.TASKS, ids=lambda task: task.path)
def test_a_task_passes_only_what_its_module_knows(task):
    passed = passed_by(task)
    assert passed - set(documented(task.module)) == set()


@pytest.mark.parametrize("task", generate.TASKS, ids=lambda task: task.path)
def test_a_task_passes_all_that_its_module_needs(task):
    passed = passed_by(task)
    assert {name for name, option in documented(task.module).items() if option.get("required")} - passed == set()


def test_the_action_group_names_every_module():
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))
    assert sorted(runtime["action_groups"]["kaiwudb"]) == CONNECTED


@pytest.mark.parametrize("module", CONNECTED)
def test_every_module_says_that_it_is_in_the_action_group(module):
    text = (ROOT / f"plugins/modules/{module}.py").read_text(encoding="utf-8")
    assert "kaiwudb.kubernetes.attributes.actiongroup_kaiwudb" in text


@pytest.mark.parametrize("role", sorted(generate.ROLES))
def test_a_role_sets_no_variable(role):
    """A default would be taken for something that was asked for, and change a live cluster."""
    text = (ROOT / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) is None
