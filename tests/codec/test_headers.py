"""Headers of both directions, beside the picture in RFC 6455 section 5.2."""

import itertools
import random
import struct

import pytest

from tests.support.codec import Codec, Header, Scan

KEY = b"\x01\x02\x03\x04"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
OPCODES = {CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG}
LENGTHS = [0, 1, 125, 126, 127, 65535, 65536, 1 << 31, 1 << 32, (1 << 63) - 1]


def length_bytes(length: int) -> bytes:
    if length < 126:
        return bytes([length])
    return struct.pack("!BH", 126, length) if length < 65536 else struct.pack("!BQ", 127, length)


def client_header(opcode: int, length: int, *, fin: bool = True) -> bytes:
    data = bytearray(length_bytes(length))
    data[0] |= 0x80
    return bytes([fin << 7 | opcode, *data]) + KEY


def is_wrong(first: int, second: int) -> bool:
    opcode, control = first & 0x0F, first & 0x08
    if first & 0x70 or opcode not in OPCODES or not second & 0x80:
        return True
    return bool(control) and (not first & 0x80 or second & 0x7F > 125)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_server_header_is_the_shortest_and_says_the_size(codec: Codec, opcode: int, length: int) -> None:
    header = codec.write_header(opcode, length)
    assert header == bytes([0x80 | opcode]) + length_bytes(length)
    assert codec.frame_size_at(header) == len(header) + length


@pytest.mark.parametrize("opcode", sorted(OPCODES))
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("fin", [True, False])
def test_a_client_header_is_read_once_it_is_whole(codec: Codec, opcode: int, length: int, fin: bool) -> None:
    header = client_header(opcode, length, fin=fin)
    if opcode >= CLOSE and (not fin or length > 125):
        assert codec.scan(header) == (Scan.MALFORMED, None)
        return
    for cut in range(len(header)):
        assert codec.scan(header[:cut]) == (Scan.MORE, None), cut
    expected = Header(fin, opcode, len(header), length, KEY)
    assert codec.scan(header) == codec.scan(header + b"payload") == (Scan.FRAME, expected)


def test_what_cannot_begin_a_frame_is_malformed_when_its_length_is_here(codec: Codec) -> None:
    """As wsproto has it: an opcode that is none, or a control frame that may not be, with the first two bytes."""
    lengths = {126: b"\x01\x00", 127: b"\0\0\0\0\0\1\0\0"}
    for first, second in itertools.product(range(256), repeat=2):
        begin, length = bytes([first, second]), lengths.get(second & 0x7F, b"")
        at_once = not length or first & 0x0F not in OPCODES or first & 0x0F >= CLOSE
        wrong = is_wrong(first, second)
        assert codec.scan(begin)[0] == (Scan.MALFORMED if wrong and at_once else Scan.MORE), (first, second)
        assert codec.scan(begin + length)[0] == (Scan.MALFORMED if wrong else Scan.MORE), (first, second)


@pytest.mark.parametrize(
    "length",
    [
        pytest.param(struct.pack("!BH", 0x80 | 126, 125), id="16 bits for 125"),
        pytest.param(struct.pack("!BH", 0x80 | 126, 0), id="16 bits for 0"),
        pytest.param(struct.pack("!BQ", 0x80 | 127, 0), id="64 bits for 0"),
        pytest.param(struct.pack("!BQ", 0x80 | 127, 125), id="64 bits for 125"),
        pytest.param(struct.pack("!BQ", 0x80 | 127, 65535), id="64 bits for 65535"),
        pytest.param(struct.pack("!BQ", 0x80 | 127, 1 << 63), id="the top bit"),
        pytest.param(struct.pack("!BQ", 0x80 | 127, (1 << 64) - 1), id="all bits"),
    ],
)
def test_a_length_that_may_not_be_is_malformed_before_the_key_is_here(codec: Codec, length: bytes) -> None:
    for opcode in (CONTINUATION, TEXT, BINARY):
        header = bytes([0x80 | opcode]) + length
        assert codec.scan(header[:-1]) == (Scan.MORE, None)
        assert codec.scan(header) == codec.scan(header + KEY + b"more") == (Scan.MALFORMED, None)


def test_frames_behind_one_another_are_found(codec: Codec) -> None:
    noise = random.Random(9)
    frames = [
        (opcode, noise.randbytes(noise.choice([0, 1, 125] if opcode >= CLOSE else [0, 125, 126, 300, 65535, 65536])))
        for opcode in noise.choices(sorted(OPCODES), k=60)
    ]
    stream = b"".join(client_header(opcode, len(payload)) + payload for opcode, payload in frames)
    found = []
    while stream:
        verdict, header = codec.scan(stream[:20])
        assert verdict == Scan.FRAME and header is not None
        end = header.header_bytes + header.payload_bytes
        found.append((header.opcode, stream[header.header_bytes : end]))
        stream = stream[end:]
    assert found == frames
