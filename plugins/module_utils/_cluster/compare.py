# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Does a live object already say what we would write? Pure, for even an apply that changes nothing is a write. PRIVATE.

Only what we say is compared: the server adds defaults and others add annotations. Where an addition changes the meaning
(one more label in a selector selects fewer pods) the whole map is ours.
"""

from __future__ import annotations

import typing as t

from . import quantity

_WHOLE = ("selector", "matchLabels", "data")  # maps in which an extra key is a difference
_QUANTITIES = ("requests", "limits", "capacity")  # maps whose values are quantities


def differences(desired: t.Any, live: t.Any, path: str = "") -> dict[str, tuple[t.Any, t.Any]]:
    """Path to (live, desired) for everything that C(desired) says and C(live) does not."""
    key = path.rsplit(".", 1)[-1]
    if isinstance(desired, dict):
        if not isinstance(live, dict):
            return {path: (live, desired)} if desired else {}
        found: dict[str, tuple[t.Any, t.Any]] = {}
        for name, value in desired.items():
            if key in _QUANTITIES and name in live and quantity.same(value, live[name]):
                continue
            found.update(differences(value, live.get(name), f"{path}.{name}" if path else name))
        if key in _WHOLE:
            found.update({f"{path}.{name}": (value, None) for name, value in live.items() if name not in desired})
        return found
    if isinstance(desired, list):
        if not isinstance(live, list) or len(live) != len(desired):
            return {path: (live, desired)} if desired or live else {}
        found = {}
        for index, value in enumerate(desired):
            found.update(differences(value, live[index], f"{path}[{index}]"))
        return found
    return {} if desired == live else {path: (live, desired)}


def paths(one: t.Any, other: t.Any) -> set[str]:
    """Where two objects differ, whichever of them says it."""
    return set(differences(one, other)) | set(differences(other, one))


def repair(desired: t.Mapping[str, t.Any], live: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The merge patch that makes C(live) say what C(desired) says; extra keys of whole maps are removed.

    An apply would not remove a key that another manager added.
    """
    patch: dict[str, t.Any] = {}
    for name, value in desired.items():
        if name in ("apiVersion", "kind") or not differences(value, live.get(name), name):
            continue
        if isinstance(value, dict) and isinstance(live.get(name), dict):
            patch[name] = {
                **repair(value, live[name]),
                **({extra: None for extra in live[name] if extra not in value} if name in _WHOLE else {}),
            }
        else:
            patch[name] = value
    return patch
