"""The load's small C files by themselves: marks, sizes and histograms against plain Python."""

import ctypes
import random
import shutil
import subprocess
from collections.abc import Callable
from math import ceil
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "fastfan" / "load"

SHIM = """
#include "histogram.h"
#include "mark.h"

uint64_t spread(uint64_t v) { return mark_spread(v); }
uint64_t gather(uint64_t v) { return mark_gather(v); }
uint64_t name(uint32_t publisher, uint32_t number) { return message_name(publisher, number); }
uint64_t size_of(uint64_t name, uint64_t least, uint64_t most) { return message_size(name, least, most); }
void record(struct histogram *h, uint64_t value) { histogram_record(h, value); }
uint64_t bytes(void) { return sizeof(struct histogram); }
"""

FRACTIONS = (0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    library = folder / "shim.so"
    files = [str(folder / "shim.c"), str(SOURCE / "histogram.c")]
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", f"-I{SOURCE}", "-o", str(library), *files], check=True)
    loaded = ctypes.CDLL(str(library))
    for function in (loaded.spread, loaded.gather, loaded.name, loaded.size_of, loaded.bytes):
        function.restype = ctypes.c_uint64
    loaded.spread.argtypes = loaded.gather.argtypes = [ctypes.c_uint64]
    loaded.name.argtypes = [ctypes.c_uint32, ctypes.c_uint32]
    loaded.size_of.argtypes = [ctypes.c_uint64] * 3
    loaded.record.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    loaded.histogram_value_at.argtypes = [ctypes.c_void_p, ctypes.c_double]
    loaded.histogram_value_at.restype = ctypes.c_uint64
    return loaded


class Histogram:
    def __init__(self, shim: ctypes.CDLL) -> None:
        self._shim = shim
        self._memory = ctypes.create_string_buffer(shim.bytes())

    def record(self, *values: int) -> None:
        for value in values:
            self._shim.record(self._memory, value)

    def at(self, fraction: float) -> int:
        value: int = self._shim.histogram_value_at(self._memory, fraction)
        return value


def exact_at(values: list[int], fraction: float) -> int:
    """The smallest value that `fraction` of all are at or below."""
    return sorted(values)[max(1, ceil(fraction * len(values))) - 1]


# -- Marks ---------------------------------------------------------------------------------------------------------


def test_what_is_spread_is_gathered_again_and_is_text_all_the_way(shim: ctypes.CDLL) -> None:
    edges = [0, 1, (1 << 56) - 1, *(1 << bit for bit in range(56)), *((1 << bit) - 1 for bit in range(1, 56))]
    for value in [*edges, *(random.Random(1).getrandbits(56) for _ in range(2000))]:
        spread = shim.spread(value)
        assert not spread & 0x8080808080808080
        assert spread.to_bytes(8, "little").isascii()
        assert shim.gather(spread) == value


def test_names_of_different_messages_differ(shim: ctypes.CDLL) -> None:
    ends = (0, 1, (1 << 32) - 1)
    names = {shim.name(publisher, number) for publisher in (0, 1, (1 << 24) - 1) for number in ends}
    assert len(names) == 9 and max(names) < 1 << 56


# -- Sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "most"), [(0, 0), (5, 5), (0, 1), (7, 16), (100, 355), (0, 1 << 30), (1 << 30, 1 << 30)]
)
def test_sizes_are_within_their_bounds(shim: ctypes.CDLL, least: int, most: int) -> None:
    sizes = [shim.size_of(shim.name(1, number), least, most) for number in range(2000)]
    assert least <= min(sizes) and max(sizes) <= most
    if most - least < 10:
        assert set(sizes) == set(range(least, most + 1))


def test_sizes_are_spread_evenly_and_each_publisher_has_its_own(shim: ctypes.CDLL) -> None:
    counts = [0] * 16
    for publisher in range(4):
        sizes = [shim.size_of(shim.name(publisher, number), 100, 115) for number in range(4000)]
        for size in sizes:
            counts[size - 100] += 1
    # 1,000 of each are expected; five standard deviations are 155.
    assert all(845 < count < 1155 for count in counts), counts
    first, second = ([shim.size_of(shim.name(each, n), 0, 1000) for n in range(20)] for each in (0, 1))
    assert first != second


# -- Histograms ----------------------------------------------------------------------------------------------------


def test_an_empty_histogram_has_zeros(shim: ctypes.CDLL) -> None:
    assert [Histogram(shim).at(fraction) for fraction in FRACTIONS] == [0] * len(FRACTIONS)


def test_small_values_are_exact(shim: ctypes.CDLL) -> None:
    histogram = Histogram(shim)
    histogram.record(*range(256))
    assert [histogram.at(n / 256) for n in range(1, 257)] == list(range(256))


def test_the_largest_value_is_exact_and_nothing_is_above_it(shim: ctypes.CDLL) -> None:
    for value in (0, 255, 256, 257, 1000, (1 << 63) + 1, (1 << 64) - 1):
        histogram = Histogram(shim)
        histogram.record(value)
        assert histogram.at(1.0) <= value
        assert value - histogram.at(0.5) <= value / 256


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_within_1_in_256_of_the_exact_ones(shim: ctypes.CDLL, seed: int) -> None:
    chance = random.Random(seed)
    makers: list[Callable[[], int]] = [
        lambda: chance.randrange(1 << chance.randrange(1, 64)),
        lambda: int(chance.lognormvariate(12, 2)),
        lambda: chance.randrange(1000),
        lambda: chance.choice((3, 700, 1 << 40)),
        lambda: 12345678,
    ]
    values = [makers[seed]() for _ in range(chance.randrange(1, 3000))]
    histogram = Histogram(shim)
    histogram.record(*values)
    for fraction in FRACTIONS:
        exact = exact_at(values, fraction)
        assert abs(histogram.at(fraction) - exact) <= exact / 256, (fraction, len(values))
