# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""What is known of a step by its verb, the word before the slash of its id. Pure. PRIVATE to the collection.

A new verb has one entry here, and one in C(deeds) that says what does it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

Right = tuple[str, str, str, bool]  # verb, resource, API group, whether namespaced

_EXEC: Right = ("create", "pods/exec", "", True)
_MAKE_POD: Right = ("create", "pods", "", True)
_END_POD: Right = ("delete", "pods", "", True)
_MARK_CLAIM: Right = ("patch", "persistentvolumeclaims", "", True)
_DROP_CLAIM: Right = ("delete", "persistentvolumeclaims", "", True)
_MARK_VOLUME: Right = ("patch", "persistentvolumes", "", False)
_PATCH_SET: Right = ("patch", "statefulsets", "apps", True)
_DROP_SET: Right = ("delete", "statefulsets", "apps", True)
_PATCH_NODE: Right = ("patch", "nodes", "", False)
VOLUME: tuple[Right, ...] = (_MARK_VOLUME, ("delete", "persistentvolumes", "", False), _MAKE_POD, _END_POD)
_ROLL = (_EXEC, _PATCH_SET, _END_POD)
_REMOVE: tuple[Right, ...] = (
    _DROP_SET,
    _END_POD,
    ("delete", "services", "", True),
    _DROP_CLAIM,
    ("delete", "configmaps", "", True),
    ("list", "controllerrevisions", "apps", True),
    ("delete", "controllerrevisions", "apps", True),
)


@dataclass(frozen=True)
class Verb:
    """rights: beside those of every run, and those that its kind of object or its facts bring.

    disruptive: it takes away what serves, or a way back, so gates stand before it. harmless: it changes nothing that the gates of a later
    step judge. look: the next step begins with a fresh look. waits: it ends when every pod serves. writes: it does more than wait.
    rolls: it restarts a pod with something new, which a rollback takes back. volumes: it is done, too, where only volumes are asked for.
    resumes: when a run sees it through that an earlier one began: its pod C(stays), is C(gone) from the StatefulSet, or is still to get
    the same C(template); never when empty.
    """

    name: str
    rights: tuple[Right, ...] = ()
    disruptive: bool = False
    harmless: bool = False
    look: bool = False
    waits: bool = False
    writes: bool = True
    rolls: bool = False
    volumes: bool = False
    resumes: str = ""


VERBS: t.Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        # Objects, and what ends or holds up a run.
        Verb("create", harmless=True, look=True),
        Verb("repair", harmless=True),
        Verb("delete", harmless=True),
        Verb("settle", (_EXEC,), waits=True, writes=False),
        Verb("close"),
        Verb("pause", (_PATCH_SET,)),
        Verb("resume", (_PATCH_SET,), harmless=True),
        # Volumes and their claims.
        Verb("volume", VOLUME, volumes=True),
        Verb("reuse", (*VOLUME, _DROP_CLAIM), volumes=True),
        Verb("free", VOLUME, volumes=True),
        Verb("drop", (_DROP_CLAIM,)),
        Verb(
            "reclaim",
            (_EXEC, _END_POD, _MARK_CLAIM, _MARK_VOLUME),
            disruptive=True,
            look=True,
            waits=True,
            resumes="stays",
        ),
        Verb("stamp", (_EXEC, _MARK_CLAIM), harmless=True),
        # Larger volumes.
        Verb("template", (_DROP_SET, _PATCH_SET), harmless=True, look=True),
        Verb("expand", (_MARK_CLAIM,), harmless=True, look=True),
        Verb(
            "rebind",
            (_EXEC, _END_POD, _DROP_CLAIM, _MARK_CLAIM, _MARK_VOLUME),
            disruptive=True,
            look=True,
            waits=True,
            resumes="stays",
        ),
        Verb(
            "renew",
            (_EXEC, _END_POD, _DROP_CLAIM, _MARK_CLAIM),
            disruptive=True,
            look=True,
            waits=True,
            resumes="stays",
        ),
        # Members.
        Verb("initialize", (_EXEC, _MARK_CLAIM), look=True, waits=True),
        Verb("remember", (_EXEC, _MARK_CLAIM), harmless=True, look=True, waits=True),
        Verb("scale_out", (_EXEC, _PATCH_SET, _MARK_CLAIM), look=True, waits=True, resumes="stays"),
        Verb("scale_in", (_EXEC, _PATCH_SET, _DROP_CLAIM), disruptive=True, look=True, waits=True, resumes="gone"),
        Verb("decommission", (_EXEC,), disruptive=True),
        Verb("recommission", (_EXEC, _MARK_CLAIM), look=True),
        # Another image or other options.
        Verb("prepull", (_MAKE_POD, _END_POD, ("get", "pods/log", "", True)), harmless=True),
        Verb("preserve", (_EXEC,), harmless=True),
        Verb("upgrade", _ROLL, disruptive=True, look=True, waits=True, rolls=True, resumes="template"),
        Verb("reconfigure", _ROLL, disruptive=True, look=True, waits=True, rolls=True, resumes="template"),
        Verb("revert", _ROLL, disruptive=True, look=True, resumes="template"),
        Verb("finalize", (_EXEC,), disruptive=True),
        Verb("release", (_EXEC,)),
        # A node that is lost.
        Verb("leave", (_EXEC,), disruptive=True, look=True),
        Verb("detach", (_EXEC, _END_POD, _DROP_CLAIM), disruptive=True, look=True),
        Verb("clear", VOLUME),
        Verb("rejoin", (_EXEC, _MARK_CLAIM), look=True),
        Verb("empty", (_EXEC, _MARK_CLAIM), look=True),
        # A Kubernetes node in maintenance.
        Verb("extend", (_EXEC,), harmless=True),
        Verb("cordon", (_PATCH_NODE,), harmless=True),
        Verb("evict", (_EXEC, ("create", "pods/eviction", "", True)), disruptive=True, look=True),
        Verb("kept", (_EXEC,)),
        Verb("uncordon", (_PATCH_NODE,)),
        Verb("return", (_EXEC,), look=True),
        Verb("restore", (_EXEC,), harmless=True),
        Verb("whole", (_EXEC,)),
        # The end of a cluster.
        Verb("remove", _REMOVE),
    )
}


def verb_of(step: str) -> str:
    """Of a step's id."""
    return step.partition("/")[0]


def in_short(steps: t.Sequence[str]) -> str:
    """Step ids for one line: C(create ×5, initialize, upgrade ×3)."""
    verbs = [verb_of(step) for step in steps]
    return ", ".join(
        verb if verbs.count(verb) == 1 else f"{verb} ×{verbs.count(verb)}" for verb in dict.fromkeys(verbs)
    )
