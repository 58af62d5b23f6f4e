"""Server frames as RFC 6455 section 5.2 has them, made and read here without the engine's help."""

__all__ = ["BINARY", "CLOSE", "PING", "PONG", "TEXT", "frame", "frame_bytes", "parse"]

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


def frame(payload: bytes | bytearray | memoryview | str, opcode: int | None = None) -> bytes:
    """One whole unmasked frame."""
    if opcode is None:
        opcode = TEXT if isinstance(payload, str) else BINARY
    body = payload.encode() if isinstance(payload, str) else bytes(payload)
    if len(body) <= 125:
        length = bytes([len(body)])
    elif len(body) <= 65535:
        length = b"\x7e" + len(body).to_bytes(2, "big")
    else:
        length = b"\x7f" + len(body).to_bytes(8, "big")
    return bytes([0x80 | opcode]) + length + body


def frame_bytes(payload_bytes: int) -> int:
    """Size of the frame around a payload of that size."""
    return payload_bytes + (2 if payload_bytes <= 125 else 4 if payload_bytes <= 65535 else 10)


def parse(stream: bytes | bytearray) -> tuple[list[tuple[int, bytes]], bytes]:
    """(opcode, payload) of every whole frame, and the bytes of one that is cut off."""
    frames, at = [], 0
    while len(stream) - at >= 2:
        assert stream[at] & 0xF0 == 0x80, f"no unfragmented frame at byte {at}: {bytes(stream[at : at + 16])!r}"
        size, header = stream[at + 1], 2
        assert size < 128, f"masked frame at byte {at}"
        if size >= 126:
            header = 4 if size == 126 else 10
            size = int.from_bytes(stream[at + 2 : at + header], "big")
        if len(stream) - at < header + size:
            break
        frames.append((stream[at] & 0x0F, bytes(stream[at + header : at + header + size])))
        at += header + size
    return frames, bytes(stream[at:])
