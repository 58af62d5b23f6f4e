"""Clocks that jump, as one process sees them: a shim between it and the C library, compiled when it is needed."""

import mmap
import os
import shlex
import shutil
import struct
import subprocess
from pathlib import Path

__all__ = ["Clocks", "missing_compiler"]

_SOURCE = Path(__file__).with_name("clockshim.c")
_COMPILER = shlex.split(os.environ.get("CC", "cc"))
_OFFSETS = struct.Struct("qq")


def missing_compiler() -> str:
    return "" if shutil.which(_COMPILER[0]) else _COMPILER[0]


class Clocks:
    """The clocks of a program that is started with `environment`."""

    def __init__(self, folder: Path) -> None:
        shim, offsets = folder / "clockshim.so", folder / "clocks"
        subprocess.run([*_COMPILER, "-shared", "-fPIC", "-O1", _SOURCE, "-o", shim], check=True, timeout=60)
        offsets.write_bytes(bytes(_OFFSETS.size))
        with offsets.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _OFFSETS.size)
        preloaded = [os.environ.get("LD_PRELOAD", ""), str(shim)]
        self.environment = {"LD_PRELOAD": " ".join(filter(None, preloaded)), "FASTFAN_CLOCKS": str(offsets)}

    def set(self, *, realtime: int = 0, monotonic: int = 0) -> None:
        """So many seconds ahead of what the kernel says."""
        _OFFSETS.pack_into(self._map, 0, realtime, monotonic)

    def close(self) -> None:
        self._map.close()
