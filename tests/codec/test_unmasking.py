"""Masking (RFC 6455 section 5.3), in every way this processor has, beside the section's own formula."""

import random
import shutil
import threading
from pathlib import Path

from tests.support.codec import Codec

KEY = bytes([0x11, 0x5A, 0xF0, 0x83])
# Around the sizes of vectors, of their loops, and of where another way takes over.
SIZES = [*range(300), 383, 384, 385, 511, 512, 513, 575, 576, 577, 640, 768, 1023, 1024, 1025, 4097]


def slowly(data: bytes | bytearray, key: bytes, place: int = 0) -> bytes:
    return bytes(byte ^ key[(place + at) % 4] for at, byte in enumerate(data))


def test_every_way_unmasks_every_size(codec: Codec) -> None:
    noise = random.Random(1)
    for size in SIZES:
        data, place = noise.randbytes(size), noise.randrange(4)
        expected = slowly(data, KEY, place)
        for way in codec.unmask_ways:
            shifts = {"into": noise.randrange(64), "off": noise.randrange(64)}
            assert codec.unmask(way, data, KEY, place, **shifts) == expected, (way, size, place, shifts)


def test_every_way_reads_and_writes_at_any_alignment(codec: Codec) -> None:
    noise = random.Random(2)
    for size in (3, 11, 40, 100, 700):
        data = noise.randbytes(size)
        expected = slowly(data, KEY)
        for way in codec.unmask_ways:
            for into in range(64):
                for off in (0, 1, 7, into, 63 - into):
                    assert codec.unmask(way, data, KEY, into=into, off=off) == expected, (way, size, into, off)


def test_every_way_unmasks_in_place_and_nothing_beside(codec: Codec) -> None:
    noise = random.Random(3)
    for size in SIZES:
        for way in codec.unmask_ways:
            place, start = noise.randrange(1 << 40), noise.randrange(64)
            data = bytearray(noise.randbytes(start + size + 64))
            expected = data[:start] + slowly(data[start : start + size], KEY, place) + data[start + size :]
            codec.unmask_in_place(way, data, KEY, start, start + size, place)
            assert data == expected, (way, size, start, place)


def test_a_payload_in_pieces_is_unmasked_as_if_it_were_whole(codec: Codec) -> None:
    noise = random.Random(4)
    data = noise.randbytes(3000)
    expected = slowly(data, KEY)
    for way in codec.unmask_ways:
        for cut in range(1200):
            pieces = bytearray(data)
            codec.unmask_in_place(way, pieces, KEY, 0, cut, 0)
            codec.unmask_in_place(way, pieces, KEY, cut, len(data), cut)
            assert pieces == expected, (way, cut)


def test_unmasking_twice_gives_what_was_there(codec: Codec) -> None:
    data = random.Random(5).randbytes(1 << 20)
    for way in codec.unmask_ways:
        assert codec.unmask(way, codec.unmask(way, data, KEY, 3), KEY, 3) == data


def test_threads_that_call_first_at_the_same_time_find_the_same(library: Path, tmp_path: Path) -> None:
    data = random.Random(6).randbytes(1000)
    expected = slowly(data, KEY)
    for number in range(20):
        # A copy of the library is one that nobody has called yet.
        fresh = Codec(Path(shutil.copy(library, tmp_path / f"fresh{number}.so")))
        barrier = threading.Barrier(4)
        seen: list[bytes] = []

        def call(codec: Codec = fresh, barrier: threading.Barrier = barrier, seen: list[bytes] = seen) -> None:
            barrier.wait()
            seen.append(codec.unmask("unmask()", data, KEY))

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [expected] * 4
