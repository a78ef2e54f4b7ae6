# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""What a tired operator does to a cluster, row by row, and what must come of it. See ../MISOPERATIONS.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "integration" / "kind"))  # kindlab

from . import destroying, hands, scaling, typing_errors, upgrading
from .stage import ROWS, SHAPES, Misoperation, Stage, cluster_answers

__all__ = [
    "ROWS",
    "SHAPES",
    "Misoperation",
    "Stage",
    "cluster_answers",
    "destroying",
    "hands",
    "scaling",
    "typing_errors",
    "upgrading",
]
