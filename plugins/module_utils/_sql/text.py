# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0
"""SQL text: where one statement ends, and what sort it is. Pure: imports neither kubernetes, psycopg nor Ansible."""

from __future__ import annotations

import re
from dataclasses import dataclass

# One piece of SQL in which a semicolon does not end a statement; quotes are doubled to escape, backslashes only in
# e'..' and b'..' literals (the dialect is CockroachDB's: https://www.cockroachlabs.com/docs/v20.1/sql-constants).
_PIECE = re.compile(
    r"""
      --[^\n]*                                  # comment to the end of the line
    | (?<![A-Za-z0-9_])[eEbB]'(?:[^'\\]|\\.|'')*'  # escape and byte strings
    | '(?:[^']|'')*'                            # strings
    | "(?:[^"]|"")*"                            # identifiers
    | (?<![A-Za-z0-9_$])\$(?P<tag>[A-Za-z_]\w*|)\$.*?\$(?P=tag)\$   # $$ ... $$
    """,
    re.VERBOSE | re.DOTALL,
)
_KEYWORD = re.compile(r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*([A-Za-z]+)(?:\s+([A-Za-z]+))?(?:\s+([A-Za-z]+))?", re.DOTALL)

# By first word. What is in none of them changes something.
_READS = frozenset({"SELECT", "SHOW", "VALUES", "TABLE", "EXPLAIN", "WITH"})
_SESSION = frozenset({"SET", "RESET", "USE", "PREPARE", "DEALLOCATE", "DISCARD", "FETCH", "CLOSE", "DECLARE"})
_TRANSACTION = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"})
# Effects that a read-only transaction does not hold back: files, jobs, other sessions.
_OUTSIDE = frozenset(
    {"CANCEL", "PAUSE", "RESUME", "EXPORT", "IMPORT", "BACKUP", "RESTORE", "SCRUB", "EXECUTE", "COPY", "CALL"}
)


class SplitError(ValueError):
    """A string, identifier or comment that never ends; ``line`` is where it starts (from 1)."""

    def __init__(self, line: int, what: str) -> None:
        self.line = line
        super().__init__(f"line {line}: this {what} never ends")


@dataclass(frozen=True)
class Statement:
    """number: from 1 over all that is run. line: where it starts in its text, from 1."""

    number: int
    text: str
    line: int = 1

    @property
    def words(self) -> tuple[str, ...]:
        """Its first words in capitals, three at most, without comments and brackets."""
        match = _KEYWORD.match(self.text)
        return tuple(word.upper() for word in match.groups() if word) if match else ()

    @property
    def keyword(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def transaction_control(self) -> bool:
        return self.keyword in _TRANSACTION

    @property
    def cluster_setting(self) -> bool:
        return self.words[1:3] == ("CLUSTER", "SETTING") and self.keyword in ("SET", "RESET")

    @property
    def acts_outside(self) -> bool:
        """Whether a read-only transaction would not hold its effect back."""
        return self.keyword in _OUTSIDE or self.cluster_setting

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent twice: it reads and nothing else."""
        return self.keyword in ("SELECT", "SHOW", "VALUES", "TABLE") and not self._returning

    @property
    def _returning(self) -> bool:
        return bool(re.search(r"\bRETURNING\b", self.text, re.IGNORECASE))

    @property
    def returns_rows(self) -> bool:
        """By its words; only for the CLI, whose output does not say. The wire protocol knows."""
        return self.keyword in _READS or self._returning


def split(text: str, first: int = 1) -> list[Statement]:
    """The statements of a text, without the semicolons between them; pieces of only comments are left out.

    Raises SplitError when a quote or comment is not closed.
    """
    statements: list[Statement] = []
    start = position = 0
    meant = False  # whether there is more than blanks and comments since the last semicolon

    def take(end: int) -> None:
        piece = text[start:end]
        if meant:
            lead = len(piece) - len(piece.lstrip())
            line = text.count("\n", 0, start + lead) + 1
            statements.append(Statement(first + len(statements), piece.strip(), line))

    while position < len(text):
        if text.startswith("/*", position):
            position = _comment_end(text, position)
            continue
        match = _PIECE.match(text, position)
        if match:
            meant = meant or not match[0].startswith("--")
            position = match.end()
            continue
        character = text[position]
        if character in "'\"":
            raise SplitError(text.count("\n", 0, position) + 1, "string" if character == "'" else "name in quotes")
        if character == ";":
            take(position)
            start, meant = position + 1, False
        elif not character.isspace():
            meant = True
        position += 1
    take(len(text))
    return statements


def _comment_end(text: str, start: int) -> int:
    """Comments nest, as in PostgreSQL."""
    depth, position = 0, start
    for match in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if match[0] == "/*" else -1
        position = match.end()
        if depth == 0:
            return position
    raise SplitError(text.count("\n", 0, start) + 1, "comment")


def changed_by(tag: str | None) -> bool:
    """Whether a command tag speaks of a change: ``SELECT 3`` no, ``INSERT 0 0`` no (no row), ``CREATE TABLE`` yes."""
    words = (tag or "").split()
    if not words:
        return False
    first = words[0].upper()
    if first == "SET" and [word.upper() for word in words[1:3]] == ["CLUSTER", "SETTING"]:
        return True
    if first in _READS or first in _SESSION or first in _TRANSACTION:
        return False
    if first in ("INSERT", "UPDATE", "DELETE", "UPSERT") and words[-1].isdigit():
        return int(words[-1]) > 0
    return True
