"""The tables of docs/benchmarks.md, from benchmarks/results.

A table stands between the comments ``<!-- table NAME -->`` and ``<!-- end -->``, and is written anew.
"""

import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import interval

__all__ = ["LABELS", "Run", "append_table", "fill_tables", "latency_ms", "results", "table"]

RESULTS: Final = Path(__file__).parent / "results"
LABELS: Final = {
    "bare_log": "bare C, one log",
    "bare_send": "bare C, a send per message",
    "bun": "Bun (µWebSockets)",
    "fastpubsub-io0": "fastpubsub, no I/O thread",
    "fastpubsub-io2": "fastpubsub, two I/O threads on one core",
    "fastpubsub-io2-spread": "fastpubsub, two I/O threads on all cores",
    "embedded-io0": "embedded, no I/O thread",
    "starlette-by-hand": "Starlette under uvicorn, by hand",
    "hub-mount": "a hub mounted in Starlette under uvicorn",
    "hub-listen": "the same hub, on a port of its own",
}

Run = dict[str, Any]


def results(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    document: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return document


def latency_ms(name: str, percentile: str) -> Callable[[Run], float | None]:
    return lambda run: run[name][f"{percentile}_ns"] / 1e6 if run[name] else None


@dataclass(frozen=True, slots=True)
class Cell:
    """A column of a table: the median of a figure, and its ratio to the reference's where `paired`."""

    head: str
    value: Callable[[Run], float | None]
    form: str = ",.0f"
    paired: bool = False


def _percent(name: str) -> Callable[[Run], float | None]:
    return lambda run: None if run[name] is None else 100 * run[name]


_CPU: Final = Cell("CPU ns a delivery", lambda run: run["server_cpu_ns_per_delivery"], ",.0f", True)
_FINE_CPU: Final = Cell(_CPU.head, _CPU.value, ",.1f", True)
_RATE_RATIO: Final = Cell(
    "deliveries a second", lambda run: run["deliveries_per_second"] if run["counts"] else None, ",.0f", True
)
_P50: Final = Cell("p50 ms", latency_ms("latency", "p50"), ",.2f", True)
_P99: Final = Cell("p99 ms", latency_ms("latency", "p99"), ",.2f", True)
_SIDES: Final = (
    Cell("server busy %", _percent("server_busy")),
    Cell("load busy %", _percent("load_busy")),
    Cell("RSS MiB", lambda run: run["server"]["resident_after"] / (1 << 20) if run["server"] else None, ",.0f"),
)
_ANY_RATE: Final = Cell("deliveries a second", lambda run: run["deliveries_per_second"], ",.0f", True)
# Whose variants are points of a curve: each is compared with the first server at that point.
BY_POINT: Final = {"engine-subscribers", "engine-size", "engine-threads"}
TABLES: Final[dict[str, tuple[Cell, ...]]] = {
    "flood-small": (_RATE_RATIO, _CPU, *_SIDES),
    "flood-large": (_RATE_RATIO, _CPU, *_SIDES),
    "paced": (_CPU, _P50, _P99, *_SIDES),
    "everybody": (Cell("to the last, ms", latency_ms("everybody", "p50"), ",.1f", True), _CPU, *_SIDES),
    "ingest": (Cell("CPU ns a message", _CPU.value, ",.0f", True), *_SIDES),
    "idle": (Cell("KiB a connection", lambda run: run["server_bytes_per_connection"] / 1024, ",.2f"),),
    "storm": (
        Cell("upgrades a second", lambda run: run["upgrades_per_second"], ",.0f", True),
        Cell("CPU us each", lambda run: run["server_cpu_ns_per_upgrade"] / 1e3, ",.0f", True),
    ),
    "stalled": (_P50, _P99, *_SIDES),
    "topics": (_CPU, _P50, _P99, *_SIDES),
    "gil": (_P50, _P99, Cell("max ms", latency_ms("latency", "max"), ",.1f")),
    "fairness": (_P50, _P99, Cell("max ms", latency_ms("latency", "max"), ",.1f"), *_SIDES),
    "mount": (_CPU, _P50, _P99, *_SIDES),
    "visitors": (_P50, _P99, _CPU, *_SIDES),
    "engine-subscribers": (
        _FINE_CPU,
        Cell("to the last, ms", latency_ms("everybody", "p50"), ",.2f", True),
        *_SIDES[:2],
    ),
    "engine-size": (_FINE_CPU, Cell("MB a second", lambda run: run["megabytes_per_second"], ",.0f", True), *_SIDES[:2]),
    "engine-threads": (_FINE_CPU, _ANY_RATE, _P99, *_SIDES[:2]),
}


def table(name: str, document: dict[str, Any]) -> str:
    """In Markdown: a row for each server and variant, ratios to the first variant, or to the first server's."""
    rows: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in document["runs"]:
        rows[run["subject"], run["variant"]].append(run)
    variants = list(dict.fromkeys(variant for _, variant in rows))
    cells = TABLES[name]
    heads = ["server"]
    for cell in cells:
        heads += [cell.head, "ratio"] if cell.paired else [cell.head]
    lines = [heads, ["---", *["--:"] * (len(heads) - 1), "---"]]
    heads.append("lost, doubled, out of order")
    by_server = name in BY_POINT or len(variants) == 1
    reference = next(iter(rows))[0]
    # The rows that are compared with each other stand together.
    order = [key for variant in variants for key in rows if key[1] == variant] if by_server else list(rows)
    for subject, variant in order:
        runs, first = rows[subject, variant], rows[(reference, variant) if by_server else (subject, variants[0])]
        lines.append([LABELS.get(subject, subject) + (f", {variant}" if variant else ""), *_cells(cells, runs, first)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(cells: Sequence[Cell], runs: Sequence[Run], first: Sequence[Run]) -> list[str]:
    texts = []
    for cell in cells:
        values = [value for value in map(cell.value, runs) if value is not None]
        texts.append(format(statistics.median(values), cell.form) if values else "-")
        if cell.paired:
            pairs = zip(map(cell.value, runs), map(cell.value, first), strict=False)
            texts.append(_ratio(list(pairs)))
    wrong = [sum(run[name] for run in runs) for name in ("lost", "duplicated", "reordered")]
    return [*texts, ", ".join(f"{count:,}" for count in wrong) if any(wrong) else "0"]


def _ratio(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    ratios = [a / b for a, b in pairs if a and b]
    if not ratios:
        return "-"
    middle = math.exp(statistics.fmean(map(math.log, ratios)))
    if len(ratios) == 1 or all(ratio == 1 for ratio in ratios):
        return f"{middle:.3g}"
    low, high = interval(ratios)
    return f"{middle:.3g} [{low:.3g} .. {high:.3g}]"


def append_table(document: dict[str, Any]) -> str:
    """In Markdown: a row for each size, a column for each way, with its ratio to the first one."""
    found: dict[int, dict[str, list[float]]] = defaultdict(dict)
    for row in document["rows"]:
        found[row["size"]][row["way"]] = row["ns"]
    first, *ways = next(iter(found.values()))
    heads = ["bytes", first]
    for way in ways:
        heads += [way, "ratio"]
    lines = [heads, ["--:"] * len(heads)]
    for size, figures in found.items():
        line = [f"{size:,}", format(statistics.median(figures[first]), ",.1f")]
        for way in ways:
            pairs = list(zip(figures[way], figures[first], strict=True))
            line += [format(statistics.median(figures[way]), ",.1f"), _ratio(pairs)]
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def subjects_table(document: dict[str, Any]) -> str:
    """Who was measured, and how each broadcasts."""
    lines = ["| server | version | how |", "|---|---|---|"]
    for name, subject in document["subjects"].items():
        lines.append(f"| {LABELS.get(name, name)} | {subject['version']} | {subject['how']} |")
    return "\n".join([document["machine"] + ".", "", *lines])


def fill_tables(text: str) -> str:
    def filled(found: re.Match[str]) -> str:
        if found[1] == "subjects":
            who = results("flood-small")
            return f"<!-- table subjects -->\n{subjects_table(who)}\n<!-- end -->" if who else found[0]
        document = results(found[1])
        if document and found[1] == "engine-append":
            return f"<!-- table engine-append -->\n{append_table(document)}\n<!-- end -->"
        return f"<!-- table {found[1]} -->\n{table(found[1], document)}\n<!-- end -->" if document else found[0]

    return re.sub(r"<!-- table ([a-z-]+) -->\n.*?<!-- end -->", filled, text, flags=re.DOTALL)
