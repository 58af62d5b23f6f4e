"""The gate: how many may come in, in all, from one address, and in a second; and how many topics there may be.

    accept ──► enter() ──► the request ──► may_make_topic() ──► may_upgrade() ──► ... ──► leave()

Every limit is an option, and who is turned away is told which. Limits per address do not hold for loopback: there a
proxy stands for everybody.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from pubsub.handshake import Refusal, try_later

if TYPE_CHECKING:
    from collections.abc import Callable

    from pubsub.options import Options

__all__ = ["Gate", "address_of", "full"]

_MINUTE = 60.0
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 section 2.1: all of IPv4, in the last four bytes
_TOO_MANY = 429


def address_of(host: object) -> str | None:
    """What limits per address go by: an IPv4 address, or the /64 of an IPv6 one, which is what one customer has.

    None for loopback, and for what is no address (a Unix socket's peer).
    """
    try:
        address = ip_address(str(host).partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or _behind_nat64(address) or address
    if address.is_loopback:
        return None
    # Those of one link are all in the same /64.
    return address.exploded[:19] if isinstance(address, IPv6Address) and not address.is_link_local else str(address)


def _behind_nat64(address: IPv6Address) -> IPv4Address | None:
    return ip_address(address.packed[12:]) if address in _NAT64 else None  # type: ignore[return-value]


class Gate:
    """Counts of one broker. Any thread. Every `enter` that let somebody in needs its `leave`."""

    def __init__(self, options: Options, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds that only grow."""
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._by_address: Counter[str] = Counter()
        self._new_topics: Counter[str] = Counter()
        self._minute_began = clock()
        self._upgrades = _Allowance(options.max_upgrades_per_second)
        self.connections = 0  # now
        self.watches_addresses = bool(options.max_connections_per_address or options.max_new_topics_per_address)

    def enter(self, address: str | None) -> Refusal | None:
        """Somebody is here; None: and was counted in."""
        most, most_each = self._options.max_connections, self._options.max_connections_per_address
        with self._lock:
            if most is not None and self.connections >= most:
                return full("max_connections", f"{most} connections are open, which is max_connections")
            if address is not None and most_each is not None:
                if self._by_address[address] >= most_each:
                    fault = f"{most_each} connections from {address} are open, which is max_connections_per_address"
                    return full("max_connections_per_address", fault, _TOO_MANY)
                self._by_address[address] += 1
            self.connections += 1
        return None

    def leave(self, address: str | None) -> None:
        with self._lock:
            self.connections -= 1
            if address is not None and address in self._by_address:
                self._by_address[address] -= 1
                if not self._by_address[address]:
                    del self._by_address[address]

    def may_upgrade(self) -> Refusal | None:
        """A sound request is here; None: and was counted."""
        most = self._options.max_upgrades_per_second
        if most is None:
            return None
        with self._lock:
            if self._upgrades.take(self._clock()):
                return None
        return full("max_upgrades_per_second", f"more than max_upgrades_per_second={most} are asking")

    def may_make_topic(self, address: str | None) -> Refusal | None:
        """A request names a topic that there is not yet; None: and was counted."""
        most = self._options.max_new_topics_per_address
        if most is None or address is None:
            return None
        with self._lock:
            now = self._clock()
            if now - self._minute_began >= _MINUTE:
                self._minute_began = now
                self._new_topics.clear()
            if self._new_topics[address] < most:
                self._new_topics[address] += 1
                return None
            wait = math.ceil(self._minute_began + _MINUTE - now)
        fault = f"{address} has made {most} topics within a minute, which is max_new_topics_per_address"
        return full("max_new_topics_per_address", fault, _TOO_MANY, wait)


class _Allowance:
    """So many in a second, and as many at once after a quiet one."""

    __slots__ = ("_left", "_most", "_seen")

    def __init__(self, most: int | None) -> None:
        self._most = most or 0
        self._left = float(self._most)
        self._seen: float | None = None

    def take(self, now: float) -> bool:
        if self._seen is not None:
            self._left = min(float(self._most), self._left + (now - self._seen) * self._most)
        self._seen = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def full(limit: str, fault: str, status: int = 503, wait: int = 1) -> Refusal:
    """Of who is one too many for the option `limit`."""
    cure = f"try again in a while, or raise it with --{limit.replace('_', '-')}"
    return try_later(f"{fault}; {cure}", status=status, wait=wait, limit=limit)
