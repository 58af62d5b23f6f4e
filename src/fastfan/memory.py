"""How much memory an engine may use when nobody says."""

import os
from pathlib import Path

__all__ = ["default_memory_limit"]

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),  # version 2
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)


def default_memory_limit() -> int:
    """A quarter of the memory this process can have, in bytes: the machine's, or the cgroup's where that is less."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        # Version 2 writes "max" for none, version 1 a number beyond any machine.
        if text.isdigit():
            limit = min(limit, int(text))
    return limit // 4
