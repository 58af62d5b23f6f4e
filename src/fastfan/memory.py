"""How much memory an engine may use when nobody says."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["default_memory_limit"]

_ROOT = Path("/sys/fs/cgroup")


def default_memory_limit() -> int:
    """A quarter of the memory this process can have, in bytes: the machine's, or a cgroup's where that is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_cgroup_limits()]
    return min(limits) // 4


def _cgroup_limits() -> Iterator[int]:
    """What the groups this process is in, and those around them, allow (cgroups(7))."""
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        # Version 2 has one tree and no controllers' names, version 1 a tree for memory.
        tree, name = (_ROOT / "memory", "memory.limit_in_bytes") if controllers else (_ROOT, "memory.max")
        path = PurePosixPath(group)
        for each in (path, *path.parents):
            text = _text(tree / each.relative_to("/") / name).strip()
            # Version 2 writes "max" for none, version 1 a number beyond any machine.
            if text.isdigit():
                yield int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
