# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""The helpers of the tests on a real cluster, and how much of a matrix is run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "integration" / "kind"))
import kindlab


def pytest_addoption(parser: pytest.Parser) -> None:
    """--every K and --start N."""
    parser.addoption("--every", type=int, default=1, metavar="K", help="take each K-th point of the kill matrix only")
    parser.addoption(
        "--start", type=int, default=1, metavar="N", help="begin the kill matrix at the N-th request of each operation"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick: the part of the fault matrices for continuous integration")


@pytest.fixture(scope="session")
def every(request: pytest.FixtureRequest) -> int:
    """Which share of the points is taken: each K-th."""
    return int(request.config.getoption("--every"))


@pytest.fixture(scope="session")
def start(request: pytest.FixtureRequest) -> int:
    """The request that is the first point."""
    return int(request.config.getoption("--start"))


@pytest.fixture(scope="session")
def kind_cluster() -> None:
    """Skips, with the reason, where the tests cannot run."""
    why = kindlab.cluster_answers()
    if why:
        pytest.skip(why)
