# SPDX-License-Identifier: GPL-3.0-or-later
"""The only differences that conformance forgives, each under its own name. Pure.

Every normaliser maps a text to the same text with its variable parts replaced by a placeholder; it is applied to the
recording and to what the binary printed. Zero and "not zero" stay apart wherever a count decides something.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Normaliser = Callable[[str], str]
NORMALISERS: dict[str, Normaliser] = {}

# CSV/TSV columns by what they hold.
SIZE_COLUMNS = {
    "live_bytes", "key_bytes", "value_bytes", "intent_bytes", "system_bytes", "capacity", "available", "used",
    "logical_bytes", "range_size_mb",
}  # fmt: skip
# A node that holds nothing differs from one that holds something; where leases are, and what the store metrics say
# seconds after init, is chance.
PRESENCE_COLUMNS = {"ranges", "gossiped_replicas"}
CHANCE_COLUMNS = {
    "replicas_leaders", "replicas_leaseholders", "leases", "lease_count", "range_count", "ranges_underreplicated",
}  # fmt: skip
ID_COLUMNS = {"job_id", "range_id", "epoch", "lease_holder"}


def normaliser(function: Normaliser) -> Normaliser:
    """Registers a normaliser under its function's name; they run in the order in which they stand here."""
    NORMALISERS[function.__name__] = function
    return function


@normaliser
def carriage_returns(text: str) -> str:
    """HTTP header lines end in CR LF; the recording kept only LF."""
    return text.replace("\r\n", "\n")


@normaliser
def times(text: str) -> str:
    """Timestamps, dates of HTTP headers, log line prefixes, liveness expirations, durations."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( \+0000 UTC)?( *(?= \|))", "<time>", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( \+0000 UTC)?(?![.\d+])", "<time>", text)
    text = re.sub(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "<date>", text)
    text = re.sub(r"\b\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\b", "<build time>", text)
    text = re.sub(r"(?m)^([EWIF])\d{6} \d\d:\d\d:\d\d\.\d{6} \d+ ", r"\1<time> <goroutine> ", text)
    text = re.sub(r"\(took [\d.]+s\)", "(took <time>)", text)
    text = re.sub(r'"\d{10}\.\d{1,9},\d+"', '"<time>"', text)
    text = re.sub(r'"(wallTime|startedAt)": "\d+"', r'"\1": "<time>"', text)
    text = re.sub(r'"logical": \d+', '"logical": <time>', text)
    return re.sub(r"(signal \w+: exit code \d+ after) \d+ ms", r"\1 <time>", text)


@normaliser
def hosts(text: str) -> str:
    """Names of the recording's containers, and of the machine it ran on."""
    text = re.sub(r"\bq(\d):26257\b", r"127.0.0.1:2630\1", text)
    return re.sub(r'"systemInfo": "Linux .*', '"systemInfo": "Linux <host>', text)


@normaliser
def builds(text: str) -> str:
    """Build tag, commit, compilers, the storage library; a tag's length changes a table's widths: padding goes too."""
    tagged = re.sub(r"V\d+\.\d+\.\d+(-[\w.]+)*", "<build>", text)
    if tagged != text and re.search(r"(?m)^-+\+-", tagged):
        tagged = re.sub(r"-{2,}", "-", re.sub(r" {2,}", " ", tagged))
    tagged = re.sub(r"(?m)^(C Compiler|Build SHA-1|storage engine|ts storage engine): .*$", r"\1: <build>", tagged)
    tagged = re.sub(r'"(cgoCompiler|revision)": ".*"', r'"\1": "<build>"', tagged)
    tagged = re.sub(r"\bgo1\.\d+(\.\d+)?", "<go>", tagged)
    tagged = re.sub(r"\bgcc \d+\.\d+\.\d+", "<compiler>", tagged)
    tagged = re.sub(r"\bcgo disabled\b", "<compiler>", tagged)
    return re.sub(r"\b[0-9a-f]{40}\b", "<commit>", tagged)


@normaliser
def ids(text: str) -> str:
    """Cluster ids, job ids, liveness epochs (a count of starts), range ids in JSON."""
    text = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uuid>", text)
    text = re.sub(r'"epoch": "\d+"', '"epoch": "<id>"', text)
    text = re.sub(r'"(rangeId|applyIndex)": "\d+"', r'"\1": "<id>"', text)
    text = _cells(text, ID_COLUMNS, "<id>", keep_zero=False)
    return re.sub(r',<id>,region=NODE\d,(?="\{)', ",<id>,region=<id>,", text)  # the locality of a lease holder


@normaliser
def sizes(text: str) -> str:
    """Bytes in columns, lengths of HTTP bodies above 99 bytes, figures of store metrics (names stay)."""
    text = re.sub(r"(?m)^Content-Length: \d{3,}$", "Content-Length: <size>", text)
    text = re.sub(r'(""[a-z][\w.-]*""): \d+(\.\d+)?([eE][-+]\d+)?', r"\1: <figure>", text)
    return _cells(text, SIZE_COLUMNS, "<size>", keep_zero=False)


@normaliser
def counts(text: str) -> str:
    """Counts that depend on the number of ranges; where presence decides, 0 stays 0."""
    text = _cells(text, PRESENCE_COLUMNS, "<n>", keep_zero=True)
    text = _cells(text, CHANCE_COLUMNS, "<n>", keep_zero=False)
    text = re.sub(r"(?m)^((?:id)([,\t])is_live\2replicas\2.*\n\d+\2\w+\2)([1-9]\d*)(?=\2)", r"\1<n>", text)
    return re.sub(r"remaining: [1-9]\d*", "remaining: <n>", text)


@normaliser
def repetition(text: str) -> str:
    """How often a waiting command repeats itself depends on speed and on the number of ranges: progress is kept once.

    Applies to: warnings of `init` that retries, lines of `node drain`, dots and tables of `node decommission`, the list
    of ranges in /_status/nodes.
    """
    text = re.sub(r"(?m)^(warning: node not ready to perform cluster initialization: .*\n)\1+", r"\1", text)
    text = re.sub(r"(?m)^(node is draining\.\.\. remaining: <n>\n)\1+", r"\1", text)
    text = re.sub(r"(?m)^(id([,\t])is_live\2replicas\2.*\n.*\2<n>\2.*\n)\1+", r"\1", text)
    text = re.sub(r"(?m)^\n?(\.+(\n|\Z)\n*)+", "<dots>\n", text)
    text = re.sub(r'( *\{\n *"rangeId": "<id>",\n *"applyIndex": "<id>"\n *\},?\n)+', "<ranges>\n", text)
    return re.sub(r'<ranges>\n *(\{(\s*"rangeId"[^}]*)?)?\Z', "<ranges>\n", text)


@normaliser
def metrics(text: str) -> str:
    """Metrics come in the random order of a map: of the text after the headers only the forms of its lines count."""
    if not re.search(r"(?m)^# HELP ", text):
        return text
    text = re.sub(r"(?m)^# HELP \w+ .+$", "<help>", text)
    text = re.sub(r"(?m)^# TYPE \w+ (counter|gauge|histogram)$", "<type>", text)
    text = re.sub(r"(?m)^[a-zA-Z_]\w*(\{[^}\n]*\})? [-+\d.eE]+$", "<sample>", text)
    return re.sub(r"(<(help|type|sample)>\n)+", "<metrics>\n", text)


@normaliser
def broken_pipe(text: str) -> str:
    """curl's own complaint when `head` closes the pipe; whether it comes depends on the size of the body."""
    return re.sub(r"(?m)^curl: \(23\) Fail.*\n", "", text)


def normalise(text: str) -> str:
    """All normalisers in their order."""
    for function in NORMALISERS.values():
        text = function(text)
    return text


def _cells(text: str, columns: set[str], placeholder: str, *, keep_zero: bool) -> str:
    """Replaces the numbers in the named columns of every CSV or TSV table in `text`.

    A table is a line one of whose cells is such a column's name, and the lines after it with as many cells.
    """
    out: list[str] = []
    wanted: list[int] = []
    width, delimiter = 0, ","
    for line in text.split("\n"):
        for candidate in ("\t", ","):
            cells = _split(line, candidate)
            if len(cells) > 1 and columns.intersection(cells):
                wanted, width, delimiter = [i for i, name in enumerate(cells) if name in columns], len(cells), candidate
                break
        else:
            cells = _split(line, delimiter)
            if not wanted or len(cells) != width:
                wanted = []
            for index in wanted:
                if re.fullmatch(r"[\d.]+", cells[index]) and not (keep_zero and cells[index] == "0"):
                    cells[index] = placeholder
            if wanted:
                line = delimiter.join(cells)
        out.append(line)
    return "\n".join(out)


def _split(line: str, delimiter: str) -> list[str]:
    """The cells of a line as they are written, quotes included."""
    return re.findall(rf'(?:^|{delimiter})("(?:[^"]|"")*"|[^{delimiter}]*)', line)


def placement(text: str) -> str:
    """For named blocks alone: which and how many ranges have their replicas already, seconds after `init`."""
    return re.sub(r"(?m)^count\n\d+$", "count\n<n>", re.sub(r",system,\w+,", ",system,<table>,", text))
