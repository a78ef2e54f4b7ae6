# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser of `transcripts.md`: every fenced block becomes one Block, in order, with a stable id. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

NO_NEWLINE = "<no newline at end>"
_EXIT = re.compile(r"# exit code (\d+), (\d+) ms$")
_STREAM = re.compile(r"# (stdout|stderr)(?: \((\d+) bytes\))?:$")
# Where a long output was cut in the middle of a line, the next heading follows on that same line.
_GLUED = re.compile(r"^(.*\S)# stderr:$")


@dataclass(frozen=True)
class Block:
    """One recorded block.

    id: `<section>.<place in the section>`, both of two digits. command: None for a block that shows what a node printed
    by itself (then `stdout` is the block's whole text). exact_end: False where the transcript does not tell whether
    the output ended with a newline. cut: the recorded stdout is only the beginning.
    """

    id: str
    section: str
    title: str
    prose: str
    command: str | None
    exit_code: int = 0
    duration_ms: int = 0
    stdout: str = ""
    stderr: str = ""
    exact_end: bool = True
    cut: bool = False


def parse(text: str) -> list[Block]:
    """All blocks of a transcript file. Raises ValueError for a fence that does not close or a block of unknown form."""
    blocks: list[Block] = []
    section, title, place = "", "", 0
    prose: list[str] = []
    fence: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line == "```":
            if fence is None:
                fence = []
                continue
            place += 1
            blocks.append(_block(f"{section}.{place:02}", section, title, "\n".join(prose).strip(), fence, number))
            fence, prose = None, []
        elif fence is not None:
            fence.append(line)
        elif line.startswith("## "):
            number_text, _, title = line[3:].partition(". ")
            section, place, prose = f"{int(number_text):02}", 0, []
        else:
            prose.append(line)
    if fence is not None:
        raise ValueError("the last fence does not close")
    return blocks


def load(path: Path) -> list[Block]:
    """Blocks of the file at `path` (UTF-8)."""
    return parse(path.read_text(encoding="utf-8"))


def _block(block_id: str, section: str, title: str, prose: str, lines: list[str], number: int) -> Block:
    if not lines or not lines[0].startswith("$ "):
        return Block(block_id, section, title, prose, None, stdout="\n".join(lines) + "\n")
    head = next((index for index, line in enumerate(lines) if _EXIT.match(line)), None)
    if head is None:
        raise ValueError(f"the block that ends in line {number} has no exit code")
    code, duration = (int(group) for group in _EXIT.match(lines[head]).groups())  # type: ignore[union-attr]
    streams: dict[str, list[str]] = {"stdout": [], "stderr": []}
    current, counted, cut = "", False, False
    for line in lines[head + 1 :]:
        heading, glued = _STREAM.match(line), _GLUED.match(line)
        if heading:
            current, counted = heading[1], heading[2] is not None
        elif glued and current == "stdout" and not counted:
            streams[current].append(glued[1])
            current, cut = "stderr", True
        elif not current:
            raise ValueError(f"the block that ends in line {number} has text before its stdout")
        else:
            streams[current].append(line)
    texts = {name: "".join(part + "\n" for part in parts) for name, parts in streams.items()}
    texts = {name: body.removesuffix(NO_NEWLINE + "\n") for name, body in texts.items()}
    return Block(
        block_id, section, title, prose, "\n".join(lines[:head])[2:], code, duration,
        texts["stdout"], texts["stderr"], exact_end=counted, cut=cut,
    )  # fmt: skip
