"""The engine's C for bytes, called without the engine: built into a library of its own by the system's compiler."""

import ctypes
import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "fastfan"
COMPILER = shlex.split(os.environ.get("CC", "cc"))

GUARD = 0xA5  # what no function may write over


class Scan(IntEnum):
    FRAME, MORE, MALFORMED = range(3)


class Text(IntEnum):
    WHOLE, CUT, WRONG = range(3)


@dataclass(frozen=True)
class Header:
    fin: bool
    opcode: int
    header_bytes: int
    payload_bytes: int
    key: bytes


class _ClientFrame(ctypes.Structure):
    _fields_ = (
        ("payload_bytes", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("header_bytes", ctypes.c_uint8),
        ("opcode", ctypes.c_uint8),
        ("fin", ctypes.c_uint8),
    )


# The key goes over as its four bytes lie, which is how a uint32_t is read from them.
_UNMASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32)
_SKIP = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)


class _UnmaskWay(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("unmask", _UNMASK))


class _TextWay(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("skip", _SKIP))


def sources() -> list[str]:
    stems = ("frame", "scanner", "unmask", "utf8", "upgrade")
    return sorted(str(path) for stem in stems for path in SOURCE.glob(f"{stem}*.c"))


def compile_codec(out: Path, *more: str) -> None:
    command = [*COMPILER, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{SOURCE}", *more, *sources()]
    subprocess.run([*command, "-o", str(out)], check=True)


class Codec:
    """Every function by its name in C. `ways` are those of this processor, and what the engine itself calls."""

    def __init__(self, library: Path) -> None:
        self._c = ctypes.CDLL(str(library))
        self._c.frame_header_size.argtypes = [ctypes.c_uint64]
        self._c.frame_header_size.restype = ctypes.c_size_t
        self._c.frame_write_header.argtypes = [ctypes.c_void_p, ctypes.c_uint8, ctypes.c_uint64]
        self._c.frame_write_header.restype = ctypes.c_size_t
        self._c.frame_size_at.argtypes = [ctypes.c_char_p]
        self._c.frame_size_at.restype = ctypes.c_size_t
        self._c.scan_header.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(_ClientFrame)]
        self._c.utf8_check.argtypes = [ctypes.POINTER(ctypes.c_uint8), ctypes.c_char_p, ctypes.c_size_t]
        masks, texts = (_UnmaskWay * 4)(), (_TextWay * 2)()
        for function in (self._c.unmask_ways, self._c.utf8_ways):
            function.restype = ctypes.c_size_t
        self.unmask_ways: dict[str, Callable[..., None]] = {
            way.name.decode(): way.unmask for way in masks[: self._c.unmask_ways(masks)]
        }
        self.text_ways: dict[str, Callable[..., int]] = {
            way.name.decode(): way.skip for way in texts[: self._c.utf8_ways(texts)]
        }
        self._keep_alive = masks, texts
        self.unmask_ways["unmask()"] = _UNMASK(("unmask", self._c))

    def write_header(self, opcode: int, payload_bytes: int) -> bytes:
        out = bytearray([GUARD]) * 16
        size: int = self._c.frame_write_header(_address(out), opcode, payload_bytes)
        assert self._c.frame_header_size(payload_bytes) == size
        assert out[size:] == bytes([GUARD]) * (16 - size)
        return bytes(out[:size])

    def frame_size_at(self, header: bytes) -> int:
        size: int = self._c.frame_size_at(header)
        return size

    def scan(self, data: bytes) -> tuple[Scan, Header | None]:
        frame = _ClientFrame()
        verdict = Scan(self._c.scan_header(data, len(data), frame))
        if verdict != Scan.FRAME:
            return verdict, None
        key = bytes(ctypes.c_uint32(frame.key))
        return verdict, Header(bool(frame.fin), frame.opcode, frame.header_bytes, frame.payload_bytes, key)

    def unmask(self, way: str, data: bytes, key: bytes, place: int = 0, *, into: int = 0, off: int = 0) -> bytes:
        """Copies: `off` and `into` are how far beyond a boundary of 64 bytes it reads and writes."""
        source, out = bytearray(len(data) + 128), bytearray([GUARD]) * (len(data) + 192)
        read, write = _aligned(source) + off, _aligned(out) + into
        source[read : read + len(data)] = data
        self._call(way, _address(out) + write, _address(source) + read, len(data), key, place)
        assert source[read : read + len(data)] == data
        assert set(out[:write]) | set(out[write + len(data) :]) == {GUARD}
        return bytes(out[write : write + len(data)])

    def unmask_in_place(self, way: str, data: bytearray, key: bytes, start: int, stop: int, place: int) -> None:
        """Of `data` what lies between `start` and `stop`, which begins at byte `place` of the payload."""
        at = _address(data) + start
        self._call(way, at, at, stop - start, key, place)

    def _call(self, way: str, out: int, source: int, size: int, key: bytes, place: int) -> None:
        turned = (key * 2)[place % 4 :][:4]  # unmask_key_at(), which is inline in C
        self.unmask_ways[way](out, source, size, ctypes.c_uint32.from_buffer_copy(turned).value)

    def skip(self, way: str, data: bytes) -> int:
        return self.text_ways[way](data, len(data))

    def check_text(self, *pieces: bytes) -> list[Text]:
        """The verdict after each piece."""
        state = ctypes.c_uint8(0)
        return [Text(self._c.utf8_check(state, piece, len(piece))) for piece in pieces]


def _address(data: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(data)).from_buffer(data)) if data else 0


def _aligned(data: bytearray) -> int:
    """Where in it an address is a multiple of 64."""
    return -_address(data) % 64
