"""Sockets that whoever started us listens on already: systemd's socket activation, by sd_listen_fds(3).

    LISTEN_PID   our process id: whom the descriptors are meant for
    LISTEN_FDS   how many there are, from descriptor 3 on

They outlive us, so a new client waits in their backlog while one server ends and the next one begins.
"""

import os
import socket
from collections.abc import MutableMapping

from pubsub.errors import ConfigError, shown

__all__ = ["inherited_listeners"]

_FIRST = 3  # SD_LISTEN_FDS_START
_MOST_DIGITS = 10  # a descriptor is an int of C


def inherited_listeners(environment: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets, none where nobody gave any; non-blocking, and the caller's. They are ours alone: the variables are
    removed, and children do not inherit the descriptors. Raises ConfigError for what is no listening stream socket."""
    count, pid = environment.pop("LISTEN_FDS", None), environment.pop("LISTEN_PID", None)
    environment.pop("LISTEN_FDNAMES", None)
    if count is None or pid != str(os.getpid()):
        return []
    if not count.isascii() or not count.isdecimal():
        raise ConfigError(f"LISTEN_FDS={shown(count)} is no number; it is set by systemd, or by what stands in for it")
    if len(count) > _MOST_DIGITS:
        raise ConfigError(f"LISTEN_FDS={shown(count)} is more than a process can have; give the number of sockets")
    listeners: list[socket.socket] = []
    try:
        listeners += (_listener(_FIRST + number) for number in range(int(count)))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listener(descriptor: int) -> socket.socket:
    try:
        found = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(f"descriptor {descriptor} of LISTEN_FDS is no socket: {error.strerror}") from None
    if found.family not in (socket.AF_INET, socket.AF_INET6):
        found.close()
        raise ConfigError(f"descriptor {descriptor} of LISTEN_FDS is no TCP socket; give ListenStream= a port")
    if found.type != socket.SOCK_STREAM or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.close()
        raise ConfigError(f"descriptor {descriptor} of LISTEN_FDS does not listen; give it ListenStream=")
    found.set_inheritable(False)
    found.setblocking(False)
    return found
