"""Open files: the limit that the system sets, and how many clients that allows."""

import os
import resource
from contextlib import suppress

__all__ = ["connections_allowed", "raise_descriptor_limit"]

# Besides the clients: a few of the engine's, and one for what the program may open for a moment.
_SPARE = 16
_CURE = "raise it with ulimit -Hn, or LimitNOFILE= of systemd"


def raise_descriptor_limit() -> None:
    """A client costs a descriptor. The soft limit is low (1,024) only for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_allowed(max_connections: int | None) -> str:
    """How many clients may connect now, and what sets that limit: a line for the operator."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return f"room for {max_connections or 'any number of'} connections"
    room = max(files - _open_files() - _SPARE, 0)
    if max_connections is None:
        return f"room for {room} connections, by the limit of {files} open files; {_CURE}"
    if max_connections > room:
        return f"max_connections={max_connections} is over the {room} that {files} open files allow; {_CURE}"
    return f"room for {max_connections} connections, by max_connections"


def _open_files() -> int:
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 0
