# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
"""A namespace for each test module, and the reason where there is no cluster to run on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import kindlab  # the helpers beside this file, under every import mode


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "thorough: too long for `make test`, which proves the like by something shorter; `make thorough` runs it",
    )


@pytest.fixture(scope="session")
def kind_cluster() -> None:
    """Skips, with the reason, where the tests cannot run."""
    why = kindlab.cluster_answers()
    if why:
        pytest.skip(why)


@pytest.fixture(scope="module")
def place(kind_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[kindlab.Place]:
    """This module's namespace and account; everything is taken away again."""
    mine = kindlab.Place(tmp_path_factory.mktemp("place"))
    try:
        yield mine
    finally:
        mine.clean()
