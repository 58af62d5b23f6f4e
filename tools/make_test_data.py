"""Make the messages of the functional test: a file of random payloads, the same for the same seed.

    python tools/make_test_data.py --messages 100 --max-message-bytes 100000 --seed 1 --output test.dat

The file is one record after the other: the payload's length (4 bytes, big endian), then the payload. Sizes are spread
evenly from 0 to the maximum; the first payload is empty and the second as large as allowed, so that both always occur.
"""

from __future__ import annotations

import argparse
import random
import struct
from collections.abc import Iterator
from pathlib import Path

LENGTH = struct.Struct(">I")


def payloads(messages: int, max_message_bytes: int, seed: int) -> Iterator[bytes]:
    """`messages` payloads of 0 to `max_message_bytes` bytes."""
    numbers = random.Random(seed)
    for number in range(messages):
        size = (0, max_message_bytes)[number] if number < 2 else numbers.randint(0, max_message_bytes)
        yield numbers.randbytes(size)


def write_test_data(path: Path, *, messages: int, max_message_bytes: int, seed: int) -> int:
    """Write the file; its size."""
    with path.open("wb") as file:
        for payload in payloads(messages, max_message_bytes, seed):
            file.write(LENGTH.pack(len(payload)) + payload)
        return file.tell()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the messages of the functional test.")
    parser.add_argument("--messages", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--max-message-bytes", type=int, default=100_000, help="the largest (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same file (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("test.dat"), help="the file to write (%(default)s)")
    arguments = parser.parse_args()
    size = write_test_data(
        arguments.output,
        messages=arguments.messages,
        max_message_bytes=arguments.max_message_bytes,
        seed=arguments.seed,
    )
    print(f"{arguments.output}: {arguments.messages} messages, {size:,} bytes, seed {arguments.seed}")


if __name__ == "__main__":
    main()
