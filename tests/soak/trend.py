"""Trends of noisy samples: medians of windows, and a slope that a few spikes do not move."""

import statistics
from collections.abc import Sequence

__all__ = ["Point", "halves", "slope", "windows"]

Point = tuple[float, float]  # seconds, value


def windows(points: Sequence[Point], count: int) -> list[Point]:
    """The median of each of `count` windows of equal length, at the middle of its time; empty ones are left out."""
    if not points:
        return []
    first, last = points[0][0], points[-1][0]
    length = (last - first) / count or 1.0
    found: dict[int, list[Point]] = {}
    for point in points:
        found.setdefault(min(int((point[0] - first) / length), count - 1), []).append(point)
    return [_median(each) for _, each in sorted(found.items())]


def _median(points: Sequence[Point]) -> Point:
    return statistics.median(time for time, _ in points), statistics.median(value for _, value in points)


def slope(points: Sequence[Point]) -> float:
    """Theil and Sen's: the median of the slopes between any two points. Up to 29 % of them may be anything at all."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for index, earlier in enumerate(points)
        for later in points[index + 1 :]
        if later[0] > earlier[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


def halves(points: Sequence[Point]) -> tuple[float, float]:
    """The median value of the first and of the second half of the time."""
    middle = (points[0][0] + points[-1][0]) / 2
    first = [value for time, value in points if time <= middle]
    second = [value for time, value in points if time > middle]
    return statistics.median(first), statistics.median(second or first)
