"""Types and contract of the compiled module `fastfan._upgrade`."""

def scan_upgrade(
    data: bytes, max_head_bytes: int
) -> tuple[str, str, bytes, list[tuple[bytes, bytes]], tuple[str, ...], int] | None:
    """Target, host, key, headers, subprotocols and size of the head that `data` begins with: a client's upgrade.

    None for a head that is not complete within `data` and `max_head_bytes`, or not in the plain form that upgrade.h
    describes: that says nothing against it, a complete parser has to read it. `headers` are those besides Host,
    subprotocols and extensions, in their order, with the names in lower case.
    """
