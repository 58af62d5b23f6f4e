"""Listening sockets: from a host and a port to what a server accepts on."""

import errno
import socket

from pubsub.addresses import ListenAddress
from pubsub.errors import ConfigError, MisuseError, shown

__all__ = ["BACKLOG", "listen"]

# Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
BACKLOG = 4096


def listen(host: str, port: int, sock: socket.socket | None = None) -> list[socket.socket]:
    """Non-blocking sockets that listen on an address, or `sock` alone. The caller owns them.

    Raises ConfigError when the address cannot be had, MisuseError for a `sock` that does not listen, and for what is no
    host, port or socket at all.
    """
    _check_types(host, port, sock)
    if sock is not None and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise MisuseError(f"socket {sock.fileno()} does not listen; call its listen() first")
    listeners = [sock] if sock is not None else _listen(host, port)
    for listener in listeners:
        listener.setblocking(False)
    return listeners


def _check_types(host: object, port: object, sock: object) -> None:
    if not isinstance(host, str | None):
        raise MisuseError(f"host={shown(host)} is no text; give a name or an address, or '' for all interfaces")
    if isinstance(port, bool) or not isinstance(port, int):
        raise MisuseError(f"port={shown(port)} is no number; give one from 0 to 65535, 0 for any free one")
    if sock is not None and not hasattr(sock, "getsockopt"):
        raise MisuseError(f"sock={shown(sock)} is no socket; give a socket.socket that listens")


def _listen(host: str, port: int) -> list[socket.socket]:
    if not 0 <= port <= 65535:
        raise ConfigError(f"port {port} is not from 0 to 65535; give one of those, 0 for any free one")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, OverflowError) as error:
        place = ListenAddress(host, port)
        raise ConfigError(f"cannot listen on {place}: {error}; give HOST:PORT of this machine") from None
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    for family, _kind, _protocol, _name, address in dict.fromkeys(found):
        # The first one's port holds for all, so that port 0 is one port on every address.
        wanted = (address[0], listeners[0].getsockname()[1] if listeners else port, *address[2:])
        try:
            listeners.append(_listen_on(socket.AddressFamily(family), wanted))
        except OSError as error:
            if not host and error.errno == errno.EAFNOSUPPORT:
                # All interfaces, on a system without IPv6: the other family will do.
                missing = error
                continue
            for listener in listeners:
                listener.close()
            raise ConfigError(f"cannot listen on {ListenAddress(host, port)}: {_why(error)}") from None
    if missing is not None and not listeners:
        raise ConfigError(f"cannot listen on {ListenAddress(host, port)}: {_why(missing)}")
    return listeners


def _why(error: OSError) -> str:
    cures = {
        errno.EADDRINUSE: "stop what uses the port, or choose another one",
        errno.EACCES: "choose a port from 1024 on, or run it with the right to lower ones",
    }
    return f"{error.strerror}; {cures.get(error.errno or 0, 'choose an address of this machine')}"


def _listen_on(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else the v6 wildcard takes the v4 one's port as well.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
