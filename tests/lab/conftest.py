# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's own tests share: the binary under test."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.cluster import build_binary


def pytest_addoption(parser: pytest.Parser) -> None:
    """--kwbase: a binary to test instead of the stand-in."""
    parser.addoption("--kwbase", type=Path, default=None, help="kwbase binary (default: build engine/)")


@pytest.fixture(scope="session")
def kwbase(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binary under test, as a path that ends in /kwbase."""
    place = tmp_path_factory.mktemp("bin") / "kwbase"
    given: Path | None = request.config.getoption("--kwbase")
    if given is None:
        return build_binary(place)
    place.symlink_to(given.resolve())
    return place
