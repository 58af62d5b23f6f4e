"""Where a server listens, where a client connects, and how a topic is written in a URL.

    server     HOST:PORT   :PORT (all interfaces)   [v6]:PORT         parse_listen_address
    client     ws://…  wss://…   /path on PUBSUB_ADDR   the server's form    client_address
    topic      /prices/é  ->  /prices/%C3%A9                          topic_path
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from pubsub.errors import ConfigError, MisuseError, PubSubError, shown

__all__ = ["DEFAULT_ADDRESS", "ClientAddress", "ListenAddress", "client_address", "parse_listen_address", "topic_path"]

DEFAULT_ADDRESS = "127.0.0.1:8080"

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.~-]+)?)\]|(?P<host>[^\s:/?#@\[\]]*)):(?P<port>[0-9]{1,5})")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_DEFAULT_PORTS = {"ws": 80, "wss": 443}
_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
_ALL_INTERFACES = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class ListenAddress(NamedTuple):
    """Where a server listens. An empty `host` means all interfaces; port 0 means any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"

    def url(self, *, tls: bool = False) -> str:
        """The URL a client on the same machine connects to."""
        host = _ALL_INTERFACES.get(self.host, self.host)
        return f"{'wss' if tls else 'ws'}://{_bracketed(host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """Where a client connects. `target` is what it asks for: the topic, and a query where the URL has one."""

    secure: bool
    host: str
    port: int
    target: str

    @property
    def host_header(self) -> str:
        """The Host header: without the port where it is the scheme's own (RFC 6455 section 4.1)."""
        host = _bracketed(self.host.partition("%")[0] if ":" in self.host else self.host)
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def scheme(self) -> str:
        return "wss" if self.secure else "ws"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host_header}{self.target}"


def parse_listen_address(text: str, *, name: str = "address") -> ListenAddress:
    """The address a server is to listen on. `name` is what the error calls it: a flag, or PUBSUB_ADDR."""
    match = _HOST_PORT.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise ConfigError(
            f"{name}={shown(text)} is no address to listen on; give HOST:PORT, :PORT for all interfaces, "
            f"or [V6]:PORT, with a port up to 65535, such as {DEFAULT_ADDRESS}"
        )
    return ListenAddress(match["v6"] or match["host"], int(match["port"]))


def client_address(url: str | None = None, *, pubsub_addr: str | None = None) -> ClientAddress:
    """Where `url` leads.

    A URL stands for itself. A path keeps the server of `pubsub_addr` (the variable PUBSUB_ADDR, a URL or the server's
    form) and replaces its path. Without a URL, `pubsub_addr` alone counts; without that, the server's default address.
    Raises MisuseError for a bad `url`, ConfigError for a bad `pubsub_addr`.
    """
    if url is not None and "://" in url:
        return _from_url(url, name="url", error=MisuseError)
    base = _from_variable(pubsub_addr or DEFAULT_ADDRESS)
    if not url:
        return base
    if not url.startswith("/"):
        raise MisuseError(f"url={shown(url)} is neither a URL nor a path; give ws://HOST:PORT/TOPIC or /TOPIC")
    return ClientAddress(base.secure, base.host, base.port, _target(url, name="url", error=MisuseError))


def _from_variable(value: str) -> ClientAddress:
    if "://" in value:
        return _from_url(value.strip(), name="PUBSUB_ADDR", error=ConfigError)
    listen = parse_listen_address(value, name="PUBSUB_ADDR")
    return ClientAddress(False, _ALL_INTERFACES.get(listen.host, listen.host), listen.port, "/")


def _from_url(url: str, *, name: str, error: type[PubSubError]) -> ClientAddress:
    match = _URL.fullmatch(url)
    scheme = match["scheme"].lower() if match else ""
    if match is None or scheme not in _DEFAULT_PORTS:
        cure = _WEBSOCKET_SCHEMES.get(scheme, "ws")
        rest = f"{match['authority']}{match['rest']}" if match and scheme in _WEBSOCKET_SCHEMES else "HOST:PORT/TOPIC"
        raise error(f"{name}={shown(url)} is no WebSocket URL; give {cure}://{shown(rest)[1:-1]}")
    if "@" in match["authority"]:
        # Not shown: what stands before the @ is most often a password.
        raise error(f"{name} has a user or a password before its host; send them in a header such as Authorization")
    authority = match["authority"]
    if not _has_port(authority):
        authority = f"{authority}:{_DEFAULT_PORTS[scheme]}"
    found = _HOST_PORT.fullmatch(authority)
    host = _ascii_host(found["v6"] or found["host"]) if found else ""
    if found is None or not host or not 0 < int(found["port"]) < 65536:
        raise error(f"{name}={shown(url)} has no host and port to connect to; give {scheme}://HOST:PORT/TOPIC")
    target = _target(match["rest"], name=name, error=error)
    return ClientAddress(scheme == "wss", host, int(found["port"]), target)


def _has_port(authority: str) -> bool:
    return ":" in authority.rpartition("]")[2]


def _ascii_host(host: str) -> str:
    """The host as DNS and the Host header want it; empty when it cannot be one."""
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def _target(rest: str, *, name: str, error: type[PubSubError]) -> str:
    # RFC 6455 section 3: a fragment means nothing to a WebSocket and must not be used.
    if "#" in rest:
        raise error(f"{name}: {shown(rest)} has a fragment, which a WebSocket has no use for; write # as %23")
    path, mark, query = rest.partition("?")
    try:
        return _escaped(path or "/", _NOT_IN_PATH) + mark + _escaped(query, _NOT_IN_QUERY)
    except UnicodeEncodeError:
        raise error(f"{name}: {shown(rest)} holds half a surrogate pair; give text that UTF-8 can hold") from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


# What a browser escapes (WHATWG URL, path and query percent-encode sets). A % stays: what is escaped is left alone.
_NOT_IN_PATH = re.compile(r"""[^!$%&'()*+,\-./0-9:;=@A-Z\[\\\]_a-z|~]+""")
_NOT_IN_QUERY = re.compile(r"""[^!$%&()*+,\-./0-9:;=?@A-Z\[\\\]^_`a-z{|}~]+""")


def _escaped(text: str, unsafe: re.Pattern[str]) -> str:
    return unsafe.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text)


def topic_path(topic: str) -> str:
    """`topic` as requests carry it: what a browser would escape is escaped, what is escaped already stays.

    Raises MisuseError unless it is a path: it starts with `/` and has no query and no fragment, which are not part of a
    topic (escape them: %3F and %23).
    """
    if not isinstance(topic, str):
        raise MisuseError(f"topic {shown(topic)} is no text; give a path such as '/prices'")
    if not topic.startswith("/"):
        raise MisuseError(f"topic {shown(topic)} does not start with '/'; give a path such as '/prices'")
    if "?" in topic or "#" in topic:
        raise MisuseError(f"topic {shown(topic)} has a query or a fragment; write ? as %3F and # as %23")
    try:
        return _escaped(topic, _NOT_IN_PATH)
    except UnicodeEncodeError:
        raise MisuseError(f"topic {shown(topic)} holds half a surrogate pair; give text that UTF-8 can hold") from None
