"""What a load is to do, and the checks of it: everything that the C side takes for granted holds here."""

import ipaddress
from dataclasses import dataclass

from fastfan.errors import MisuseError

__all__ = ["Plan"]

# Bytes of a payload that carry its publisher and number; those that carry the time too (mark.h).
_MARK_BYTES = 8
_STAMP_BYTES = 16

# So much of a name is the publisher's number, so much the message's (mark.h).
_MOST_PUBLISHERS = 1 << 24
_MOST_MESSAGES = (1 << 32) - 2

# Slower than this the times of messages no longer fit into nanoseconds of 64 bits.
_LEAST_RATE = 1e-6

_MOST_BYTES = 1 << 30
_MOST_WINDOW = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A workload. Raises MisuseError for what cannot be, with value, limit and cure.

    Subscribers and publishers are spread over the topics in turn. With several topics each has `/N` behind `path`.
    Exactly one of `messages` and `seconds` says when it is over; at most one of `rate` and `window` what sets the pace.
    """

    host: str = "127.0.0.1"  # an IPv4 or IPv6 address in digits
    port: int = 8080
    path: str = "/bench"
    query: str = ""  # with its question mark
    headers: tuple[tuple[str, str], ...] = ()  # beyond those of an upgrade and `pubsub`; Host is made where missing
    subscribers: int = 1000
    publishers: int = 1
    topics: int = 1
    visitors: int = 0  # subscribers that come and go; they, `slow` and `stalled` are parts of `subscribers`
    slow: int = 0  # subscribers that read `slow_bytes_per_second` each
    stalled: int = 0  # subscribers that never read
    stay_seconds: float = 1.0
    slow_bytes_per_second: float = 65536.0
    messages: int | None = None  # of each publisher
    seconds: float | None = None
    least_bytes: int = 128  # of a payload: every message has a size from least to most, made from its number
    most_bytes: int = 128
    text: bool = False
    rate: float = 0.0  # messages a second of all publishers, each at its time whatever happens (open loop); 0: none
    window: int = 0  # messages of each publisher that not every steady subscriber has yet; 0: none
    connecting: int = 64  # upgrades under way at a time
    ramp_up_seconds: float = 0.0  # over which connections are begun
    patience_seconds: float = 10.0  # without progress, after which a step ends
    receive_buffer_bytes: int = 0  # SO_RCVBUF of subscribers; 0 leaves it to the kernel

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_kinds()
        self._check_pace()
        self._check_request()

    @property
    def steady(self) -> int:
        """Subscribers that read everything from the first message to the last."""
        return self.subscribers - self.visitors - self.slow - self.stalled

    @property
    def connections(self) -> int:
        return self.subscribers + self.publishers

    def _check_numbers(self) -> None:
        _within("port", self.port, 1, 65535)
        _within("publishers", self.publishers, 0, _MOST_PUBLISHERS)
        _within("subscribers", self.subscribers, 0, _MOST_PUBLISHERS)
        _within("topics", self.topics, 1, _MOST_PUBLISHERS)
        _within("least_bytes", self.least_bytes, 0, _MOST_BYTES)
        _within("most_bytes", self.most_bytes, self.least_bytes, _MOST_BYTES)
        _within("window", self.window, 0, _MOST_WINDOW)
        _within("connecting", self.connecting, 1, 65535)
        _within("rate", self.rate, 0, 1e9)
        _within("stay_seconds", self.stay_seconds, 0.001, 1e6)
        _within("slow_bytes_per_second", self.slow_bytes_per_second, 1, 1e12)
        _within("ramp_up_seconds", self.ramp_up_seconds, 0, 1e6)
        _within("patience_seconds", self.patience_seconds, 0.01, 1e6)
        _within("receive_buffer_bytes", self.receive_buffer_bytes, 0, _MOST_BYTES)

    def _check_kinds(self) -> None:
        for name in ("visitors", "slow", "stalled"):
            _within(name, getattr(self, name), 0, self.subscribers)
        if self.steady < 0:
            raise MisuseError(
                f"visitors={self.visitors}, slow={self.slow} and stalled={self.stalled} are more than "
                f"subscribers={self.subscribers}; they are parts of it"
            )
        if self.publishers and self.topics > self.publishers:
            raise MisuseError(
                f"topics={self.topics} is over publishers={self.publishers}, so some topics would have none; "
                f"ask for at least as many publishers"
            )

    def _check_pace(self) -> None:
        if (self.messages is None) == (self.seconds is None):
            raise MisuseError(f"messages={self.messages} and seconds={self.seconds}: give one of the two")
        if self.messages is not None:
            _within("messages", self.messages, 1, _MOST_MESSAGES)
        if self.seconds is not None:
            _within("seconds", self.seconds, 0.001, 1e6)
        if self.rate:
            _within("rate", self.rate, _LEAST_RATE, 1e9)
            _within("rate * seconds", self.rate * (self.seconds or 0), 0, _MOST_MESSAGES)
        if self.rate and self.window:
            raise MisuseError(f"rate={self.rate:g} and window={self.window}: a load has one pace; leave one out")
        if self.window and self.steady < self.topics:
            raise MisuseError(
                f"window={self.window} needs a subscriber on each topic that always reads; there are {self.steady} "
                f"for {self.topics}"
            )
        if self.window and self.least_bytes < _MARK_BYTES:
            raise MisuseError(
                f"least_bytes={self.least_bytes} is too small for a window: a message needs {_MARK_BYTES} bytes to be "
                f"told from others, and {_STAMP_BYTES} to carry its time"
            )

    def _check_request(self) -> None:
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError as error:
            raise MisuseError(f"host={self.host!r} is no IP address; look the name up first") from error
        if getattr(address, "scope_id", None) is not None:
            raise MisuseError(f"host={self.host!r} names an interface, which a load cannot; give another address of it")
        lines = [self.path, self.query, *(part for header in self.headers for part in header)]
        bad = next((line for line in lines if not line.isascii() or not line.isprintable()), None)
        target = self.path + self.query
        if bad is not None or not target.startswith("/") or self.query[:1] not in ("", "?") or " " in target:
            raise MisuseError(f"{bad or target!r} cannot stand in a request; escape it, as URLs have it")


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise MisuseError(f"{name}={value} is not within {least:.15g} and {most:.15g}")
