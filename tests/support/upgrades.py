"""Upgrades as programs send them, and random ones: plain, odd, and damaged."""

import itertools
import random
from collections.abc import Sequence

from tests.support.requests import KEY

__all__ = ["SENT_BY", "head_of", "random_cut", "random_upgrade"]

Headers = Sequence[tuple[str, str]]


def head_of(headers: Headers, target: str = "/t") -> bytes:
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


# What programs were seen to send.
SENT_BY = {
    "Chromium": head_of(
        [
            ("Host", "localhost:8080"),
            ("Connection", "Upgrade"),
            ("Pragma", "no-cache"),
            ("Cache-Control", "no-cache"),
            ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0"),
            ("Upgrade", "websocket"),
            ("Origin", "http://localhost:8080"),
            ("Sec-WebSocket-Version", "13"),
            ("Accept-Encoding", "gzip, deflate, br, zstd"),
            ("Accept-Language", "en-US,en;q=0.9"),
            ("Cookie", "a=b; c=d"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
            ("Sec-WebSocket-Protocol", "pubsub.subscriber, pubsub"),
        ],
        "/prices?name=page",
    ),
    "Firefox": head_of(
        [
            ("Host", "[::1]:8080"),
            ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"),
            ("Accept", "*/*"),
            ("Sec-WebSocket-Version", "13"),
            ("Origin", "http://[::1]:8080"),
            ("Sec-WebSocket-Protocol", "pubsub.publisher"),
            ("Sec-WebSocket-Extensions", "permessage-deflate"),
            ("Sec-WebSocket-Key", KEY),
            ("Connection", "keep-alive, Upgrade"),
            ("Sec-Fetch-Mode", "websocket"),
            ("Upgrade", "websocket"),
        ]
    ),
    "the Go program's client": head_of(
        [
            ("Host", "127.0.0.1:8080"),
            ("User-Agent", "Go-http-client/1.1"),
            ("Connection", "Upgrade"),
            ("Pubsub", "publisher"),
            ("Pubsub-Client-Name", "sensor-1"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
            ("Upgrade", "websocket"),
        ]
    ),
    "behind nginx": head_of(
        [
            ("Upgrade", "WebSocket"),
            ("Connection", "upgrade"),
            ("Host", "pubsub.example.com"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("sec-websocket-version", "13"),
            ("pubsub", "duplex"),
        ]
    ),
}

# The first of each is plain, and drawn most often.
_LINES = ["GET {} HTTP/1.1", "GET {} HTTP/1.0", "get {} HTTP/1.1", "POST {} HTTP/1.1", "HEAD {} HTTP/1.1"]
_LINES += ["GET  {} HTTP/1.1", "GET {} HTTP/1.1 ", "GET {}", "\r\nGET {} HTTP/1.1", "GET {} http/1.1"]
_TARGETS = ["/t", "/", "/a%20b?name=c&pubsub=publisher", "//", "/?pubsub=duplex", "/t?pubsub=nothing", "/t#x", "*"]
_TARGETS += ["http://a.example/t", "t", "", "/\xe9", "/a b", "/\x7f", "/t?name=" + "n" * 65, "/" + "t" * 300]
_HOSTS = ["example.com:8080", "127.0.0.1", "[::1]:80", "a_b.example", "EXAMPLE.com", "[::1", "a@b", "a:", "a:123456"]
_HOSTS += ["xn--bcher-kva.example", "xn--999999999.a", "XN--a", "a--b", "a..b", ".", "", "a b", "b\xfccher"]
_HOSTS += ["a" * 64 + ".b", "a" * 300]
_KEYS = [KEY, "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAB==", KEY[:-1], KEY + "=", "a" * 24, ""]
_NEEDED = {
    "Host": _HOSTS,
    "Upgrade": ["websocket", "WebSocket", "websocket ", "h2c", "websocket, h2c", ""],
    "Connection": ["Upgrade", "keep-alive, Upgrade", "upgrade", "close, Upgrade", "Upgrade,", "close", "", "\tUpgrade"],
    "Sec-WebSocket-Key": _KEYS,
    "Sec-WebSocket-Version": ["13", "8", "013", "13, 8", "", "13\x0b"],
}
_MORE = {
    "pubsub": ["subscriber", "publisher", "duplex", "check", "Publisher", "nothing", "", "publisher ", "publisher\t"],
    "pubsub-client-name": ["sensor", "a.b_c~d-e", "n" * 65, "a b", "", "a/b"],
    "Sec-WebSocket-Protocol": ["pubsub", "pubsub.publisher, pubsub", "chat", ",", " , pubsub.duplex ,", "a,\tpubsub"],
    "Sec-WebSocket-Extensions": ["permessage-deflate; client_max_window_bits", "", "x, y"],
    "Origin": ["http://example.com:8080", "https://elsewhere.example", "null", "", "http://127.0.0.1", "http://\x01"],
    "Content-Length": ["0", "3", "00", "x"],
    "Transfer-Encoding": ["chunked", "identity"],
    "Expect": ["100-continue"],
    "X-Anything": ["value", "two words", "two  words", " x", "x  ", "\x01", "\xe9", "a\x00b", "a\x7fb"],
    "X-Lines": ["value", "a\r\n b", "a\r\nb", "a\rb", "a\nb"],
    "Cookie": ["a=b; c=d", '"\\', "c" * 900],
    "X Odd": ["x"],
    "X-Odd ": ["x"],
    "": ["x"],
}
_DAMAGE = b"\r\n \t:,=-/[]\x00\x0b\x7f\x80\xffAaz09"


def _one(random_: random.Random, choices: Sequence[str], plain: float = 0.98) -> str:
    return choices[0] if random_.random() < plain else random_.choice(choices)


def _case(random_: random.Random, name: str) -> str:
    return random_.choices([name, name.lower(), name.upper()], [8, 2, 1])[0]


def _headers(random_: random.Random) -> list[tuple[str, str]]:
    headers = [(name, _one(random_, values)) for name, values in _NEEDED.items() if random_.random() < 0.995]
    roles = [("pubsub", _one(random_, _MORE["pubsub"], 0.5))] if random_.random() < 0.9 else []
    names = random_.choices(list(_MORE), k=random_.choice([0, 0, 0, 1, 1, 2, 3]))
    headers += roles + [(name, _one(random_, _MORE[name], 0.7)) for name in names]
    if random_.random() < 0.02:
        headers += [("X-Many", "x")] * random_.randrange(1, 60)
    if random_.random() < 0.02:
        headers.append(random_.choice(headers))
    random_.shuffle(headers)
    return [(_case(random_, name), value) for name, value in headers]


def _damaged(random_: random.Random, head: bytes) -> bytes:
    at = random_.randrange(len(head))
    put = bytes(random_.choices(_DAMAGE, k=random_.randrange(3)))
    return head[:at] + put + head[at + random_.randrange(3) :]


def random_upgrade(random_: random.Random) -> bytes:
    """A head, most often plain or nearly so."""
    line = _one(random_, _LINES, 0.97).format(_one(random_, _TARGETS, 0.6))
    colon = random_.choices([": ", ":", ":  ", ":\t", " : "], [200, 1, 1, 1, 1])[0]
    end = random_.choices(["\r\n", "\n", "\r", " \r\n"], [200, 1, 1, 1])[0]
    lines = [line, *(name + colon + value for name, value in _headers(random_)), "", ""]
    head = end.join(lines).encode("latin-1")
    return _damaged(random_, head) if random_.random() < 0.25 else head


def random_cut(random_: random.Random, data: bytes) -> list[bytes]:
    """In one piece as often as in several."""
    places = random_.sample(range(len(data) + 1), min(len(data), random_.choice([0, 0, 0, 1, 2, 9])))
    edges = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if end > start]
