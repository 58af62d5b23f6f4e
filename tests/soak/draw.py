"""Pictures of a soak: memory, descriptors and latency over its time. Needs matplotlib (the extra `plots`)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.soak.samples import Sample
from tests.soak.trend import Point, windows

__all__ = ["draw"]

_MIB: Final = 1 << 20
_WINDOWS: Final = 120
_Curve = tuple[str, str, Callable[[Sample], float | None]]  # label, colour, value

_MEMORY: Final[tuple[_Curve, ...]] = (
    ("RSS", "#d62728", lambda each: each.rss_bytes / _MIB),
    ("PSS", "#1f77b4", lambda each: each.pss_bytes / _MIB),
    ("messages (the server's count)", "#888888", lambda each: each.memory_bytes / _MIB),
)
_DESCRIPTORS: Final[tuple[_Curve, ...]] = (
    ("open descriptors", "#d62728", lambda each: each.descriptors),
    ("clients", "#1f77b4", lambda each: each.clients),
    ("those that are no client's", "#888888", lambda each: each.others),
)
_LATENCY: Final[tuple[_Curve, ...]] = (
    ("99th percentile", "#d62728", lambda each: each.p99_ms),
    ("median", "#1f77b4", lambda each: each.p50_ms),
    ("median at the end of the bad wire", "#888888", lambda each: each.far_p50_ms),
)


def draw(folder: Path, samples: Sequence[Sample]) -> list[Path]:
    """memory.svg, descriptors.svg and latency.svg in `folder`."""
    mpl.rcParams["svg.hashsalt"] = "fastfan"
    return [
        _picture(folder / "memory.svg", samples, "Memory of the server", "MiB", _MEMORY),
        _picture(folder / "descriptors.svg", samples, "Descriptors of the server", "", _DESCRIPTORS),
        _picture(
            folder / "latency.svg", samples, "From publisher to steady reader, each second", "milliseconds", _LATENCY,
            logarithmic=True,
        ),
    ]  # fmt: skip


def _picture(
    file: Path, samples: Sequence[Sample], title: str, unit: str, curves: Sequence[_Curve], *, logarithmic: bool = False
) -> Path:
    # White behind it, as in docs/pictures, so that it can be read on a dark page too.
    figure = Figure(figsize=(7.5, 3.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for label, colour, value in curves:
        points = [(each.seconds / 60, found) for each in samples if (found := value(each)) is not None]
        if points:
            _plot(axes, points, label, colour)
    _dress(axes, title, unit, logarithmic=logarithmic)
    figure.savefig(file, metadata={"Date": None})
    return file


def _plot(axes: Axes, points: Sequence[Point], label: str, colour: str) -> None:
    """Every second; where these are too many to see anything, pale behind the medians of windows."""
    if len(points) <= 2 * _WINDOWS:
        axes.plot(*zip(*points, strict=True), label=label, color=colour, linewidth=1.0)
        return
    axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.5, alpha=0.3)
    axes.plot(*zip(*windows(points, _WINDOWS), strict=True), label=label, color=colour, linewidth=1.4)


def _dress(axes: Axes, title: str, unit: str, *, logarithmic: bool) -> None:
    axes.set(xlabel="minutes", ylabel=unit)
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(which="major", color="#dddddd")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper left", bbox_to_anchor=(0, -0.15))
