# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Kubernetes quantities as numbers. PRIVATE to the collection.

The API server stores C(0.5) as C(500m) and C(1024Mi) as C(1Gi), so only values compare, never texts.
Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIX = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    **{unit + "i": Decimal(1024**power) for power, unit in enumerate("KMGTPE", 1)},
}
_FORM = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)")


def parse(text: object) -> Decimal:
    """The number behind a quantity; ValueError when C(text) is none."""
    match = _FORM.fullmatch(str(text))
    if not match:
        raise ValueError(f"{text!r} is no quantity")
    number, exponent, suffix = match.groups()
    return Decimal(number + exponent) if exponent else Decimal(number) * _SUFFIX[suffix or ""]


def same(one: object, other: object) -> bool:
    """Whether two texts mean the same quantity."""
    try:
        return parse(one) == parse(other)
    except ValueError:
        return False


def bytes_text(count: float) -> str:
    """A number of bytes for a person: C(1.5 GiB)."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")
