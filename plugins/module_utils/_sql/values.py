# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""Values between SQL and JSON. Pure: imports neither kubernetes, psycopg nor Ansible."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable
from typing import Any


def jsonable(value: Any) -> Any:
    """A value that JSON keeps as it is: bytes become Base64, floats that are no number become text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    return str(value)


def iso_time(text: str) -> str:
    """The engine's timestamp as ISO 8601: ``2026-01-01 19:04:05.678+00`` is ``2026-01-01T19:04:05.678+00:00``."""
    joined = re.sub(r"^(\d+-\d\d-\d\d) ", r"\1T", text)
    return re.sub(r"([+-]\d\d)$", r"\1:00", joined) if "T" in joined else joined


def column_names(names: Iterable[str]) -> list[str]:
    """Names that are unique, so that no value is lost in a dictionary: a, b, a is a, b, a_2."""
    seen: dict[str, int] = {}
    unique: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        candidate = name if seen[name] == 1 else f"{name}_{seen[name]}"
        while candidate in unique:
            candidate += "_"
        unique.append(candidate)
    return unique


def argument(value: Any) -> str | None:
    """A bound argument as the text of a literal without a type: the server takes the type from where it stands.

    A typed number would not do: an integer is no decimal to the engine. Lists become arrays, dictionaries JSON.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "{" + ",".join(_element(item) for item in value) + "}"
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, (bytes, bytearray)):
        return "\\x" + bytes(value).hex()
    return str(value)


def _element(value: Any) -> str:
    text = argument(value)
    if text is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
