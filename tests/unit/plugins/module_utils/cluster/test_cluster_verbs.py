# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""Every verb that a plan can make is known, and does something; and none is known that no plan makes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster import verbs as under_test
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.deeds import DEEDS
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.operations.remove import PARTS
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.plan import Step
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.verbs import VERBS, in_short
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import (
    during,
    live,
    plan,
)
from ansible_collections.kaiwudb.kubernetes.tests.unit.plugins.module_utils.cluster.factories import ids as ids_of

CORE = Path(under_test.__file__).parent
MAKERS = ("Step", "step", "_step")  # the class, and what plans call to make one of their own operation


def ids() -> Iterator[tuple[str, ast.expr, ast.FunctionDef]]:
    """Where a plan gives a step its id: the place, what it says there, and the function round it."""
    for path in sorted(CORE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        around = {
            node: function  # the innermost, which comes last
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
        }
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            said = [item.value for item in call.keywords if item.arg == "id" and call.func.id in ("replace", *MAKERS)]
            said += call.args[:1] if call.func.id in MAKERS else []
            for expression in said:
                yield f"{path.relative_to(CORE)}:{call.lineno}", expression, around[call]


def texts(expression: ast.expr, function: ast.FunctionDef) -> set[str]:
    """What an id can begin with. A name stands for every single word that its function gives it."""
    if isinstance(expression, ast.Constant):
        return {str(expression.value)}
    if isinstance(expression, ast.JoinedStr):
        first, rest = expression.values[0], expression.values[1:]
        tail = "".join(str(item.value) if isinstance(item, ast.Constant) else "*" for item in rest)
        found = texts(first.value if isinstance(first, ast.FormattedValue) else first, function)
        return {text + tail for text in found}
    assigned = [
        item.value
        for item in ast.walk(function)
        if isinstance(item, ast.Assign)
        and isinstance(expression, ast.Name)
        and expression.id
        in {part.id for target in item.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    ]
    words = [part.value for value in assigned for part in ast.walk(value) if isinstance(part, ast.Constant)]
    return {word for word in words if isinstance(word, str) and re.fullmatch("[a-z_]+", word)}


PLANNED = {place: texts(expression, function) for place, expression, function in ids()}
MADE = {text for found in PLANNED.values() for text in found}


def test_every_verb_of_a_plan_is_known_and_none_else() -> None:
    assert {text.partition("/")[0] for text in MADE} == set(VERBS)


def test_every_id_was_found() -> None:
    """Only makers get their verb from their caller, and the step that goes on is the one in the journal."""
    silent = {place.partition(":")[0] for place, found in PLANNED.items() if not found}
    assert silent == {"maintenance.py", "present.py", "replacing.py"}
    assert sum(not found for found in PLANNED.values()) == 3


def test_every_verb_does_something_and_every_deed_has_its_verb() -> None:
    assert set(DEEDS) == set(VERBS)
    assert all((deed.one is None) is not (deed.together is None) for deed in DEEDS.values())


def test_a_removal_has_a_deed_for_each_of_its_parts() -> None:
    static = {text.partition("/")[2] for text in MADE if text.startswith("remove/")} - {"*"}
    assert static | {"statefulset", "pods", "claims"} == set(PARTS)


def test_gates_stand_before_what_disturbs_and_before_the_beginning() -> None:
    gated = {verb for verb, deed in DEEDS.items() if deed.before}
    assert gated == {name for name, verb in VERBS.items() if verb.disruptive} | {"initialize"}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_what_is_known_of_a_verb_does_not_contradict_itself(verb: under_test.Verb) -> None:
    assert not (verb.disruptive and verb.harmless)
    assert verb.resumes in ("", "stays", "gone", "template")
    assert not verb.rolls or verb.resumes == "template"
    assert verb.writes or verb.waits
    assert Step(f"{verb.name}/kw-1", "").known is verb


def test_knowledge_does_nothing() -> None:
    """Plans and rights use it, which are pure; what does the work may not come in with it."""
    imported = [
        node
        for node in ast.walk(ast.parse((CORE / "verbs.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert imported == []


def test_an_interrupted_step_of_an_unknown_verb_is_dropped() -> None:
    """Another version of the collection may have had it."""
    assert ids_of(plan(live(journal=during("upgrade", "polish/kw-1")))) == ["close"]


def test_steps_in_one_line() -> None:
    assert in_short(["create/Service/a", "create/Service/b", "initialize"]) == "create ×2, initialize"
    assert in_short([]) == ""
