"""``python -m benchmarks.draw``: docs/pictures and the tables of docs/benchmarks.md, from benchmarks/results.

Everything in them comes from the committed results, so that text, tables (tables.py) and pictures cannot disagree.
Needs matplotlib (the extra `plots`).
"""

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tables import LABELS, Run, fill_tables, latency_ms, results

DOCS: Final = Path(__file__).parent.parent / "docs"
PICTURES: Final = DOCS / "pictures"

# Ours stands out; the bare ones are the yardstick; the rest differ in hue and marker, for those who do not see hues.
STYLES: Final[dict[str, dict[str, Any]]] = {
    "fastpubsub": {"color": "#d62728", "marker": "o", "linewidth": 2.6, "zorder": 5},
    "bare_log": {"color": "#111111", "marker": "", "linestyle": "--"},
    "bare_send": {"color": "#888888", "marker": "", "linestyle": ":"},
    "bun": {"color": "#1f77b4", "marker": "s"},
    "nchan": {"color": "#2ca02c", "marker": "^"},
    "picows": {"color": "#9467bd", "marker": "D"},
    "websockets": {"color": "#ff7f0e", "marker": "v"},
    "starlette": {"color": "#8c564b", "marker": "P"},
}


# -- Pictures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A curve's figure over its points, medians of the rounds, both axes logarithmic."""

    curve: str
    title: str
    x: str
    y: str
    value: Callable[[Run], float | None]


def _cpu_us(run: Run) -> float | None:
    return run["server_cpu_ns_per_delivery"] / 1e3 if run["server"] else None


def _own_mib(run: Run) -> float | None:
    return run["server"]["memory_after"] / (1 << 20) if run["server"] else None


PICTURES_MADE: Final = {
    "subscribers-cpu": Picture(
        curve="subscribers",
        title="Server CPU of one delivery, one message on its way at a time",
        x="subscribers",
        y="microseconds",
        value=_cpu_us,
    ),
    "subscribers-last": Picture(
        curve="subscribers",
        title="Until the last subscriber has a message (median)",
        x="subscribers",
        y="milliseconds",
        value=latency_ms("everybody", "p50"),
    ),
    "subscribers-memory": Picture(
        curve="subscribers", title="Memory of the server, user space", x="subscribers", y="MiB", value=_own_mib
    ),
    "size-cpu": Picture(
        curve="size",
        title="Server CPU of one delivery, unthrottled, 100 subscribers",
        x="bytes of a message",
        y="microseconds",
        value=_cpu_us,
    ),
    "size-rate": Picture(
        curve="size",
        title="Delivered, unthrottled, 100 subscribers",
        x="bytes of a message",
        y="MB a second",
        value=lambda run: run["megabytes_per_second"],
    ),
    "topics-cpu": Picture(
        curve="topics",
        title="Server CPU of one delivery, 9,500 subscribers over so many topics",
        x="topics, each with a publisher",
        y="microseconds",
        value=_cpu_us,
    ),
    "rate-p50": Picture(
        curve="rate",
        title="Delivery latency, median, 1,000 subscribers",
        x="messages a second",
        y="milliseconds",
        value=latency_ms("latency", "p50"),
    ),
    "rate-p99": Picture(
        curve="rate",
        title="Delivery latency, 99th percentile, 1,000 subscribers",
        x="messages a second",
        y="milliseconds",
        value=latency_ms("latency", "p99"),
    ),
}


def draw(name: str, picture: Picture, document: dict[str, Any]) -> None:
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    for subject in sorted(document["subjects"], key=list(STYLES).index):
        points = _points(picture, [run for run in document["runs"] if run["subject"] == subject])
        if points:
            style: dict[str, Any] = {"linewidth": 1.5, "markersize": 5, **STYLES[subject]}
            axes.plot(*zip(*points, strict=True), label=LABELS.get(subject, subject), **style)
    _dress(axes, picture)
    figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})


def _points(picture: Picture, runs: Sequence[Run]) -> list[tuple[int, float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        value = picture.value(run)
        if value:
            found[int(run["variant"])].append(value)
    return [(x, statistics.median(values)) for x, values in sorted(found.items())]


def _dress(axes: Axes, picture: Picture) -> None:
    axes.set(xscale="log", yscale="log", xlabel=picture.x, ylabel=picture.y)
    axes.set_title(picture.title, loc="left", fontsize=11)
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    # Only where the axis covers so little that powers of ten are too few.
    low, high = axes.get_ylim()
    axes.yaxis.set_minor_formatter(lambda value, _: _short(value) if high / low < 30 and value < high else "")
    axes.xaxis.set_minor_formatter(lambda _value, _: "")
    axes.grid(which="major", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2)


def _short(value: float) -> str:
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:g} {unit}"
    return f"{value:g}"


def main() -> int:
    mpl.rcParams["svg.hashsalt"] = "fastfan"  # the same results make the same file
    PICTURES.mkdir(exist_ok=True)
    for name, picture in PICTURES_MADE.items():
        if document := results(f"curve-{picture.curve}"):
            draw(name, picture, document)
    page = DOCS / "benchmarks.md"
    page.write_text(fill_tables(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
