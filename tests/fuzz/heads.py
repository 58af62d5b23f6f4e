"""Random request heads for all of the Python that reads one, and the scanner in C beside it.

    python -m tests.fuzz.heads [heads=100000] [seconds=60] [seed=1] [input=build/fuzz/heads-...] [guided=yes]

Made from the corpus and from random upgrades by changes that know what a head is made of, and by some that do not.
`guided` leaves that to atheris, which follows the coverage of pubsub, wsproto and h11 (pip install atheris); what it
finds to be new goes to build/fuzz/corpus. tests/support/heads.py says what must hold; what fails is kept in build/fuzz.
"""

import itertools
import random
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.settings import settings
from tests.support.heads import LIMIT, check_head
from tests.support.upgrades import SENT_BY, random_upgrade

ROOT = Path(__file__).parents[2]
CORPORA = [ROOT / "tests" / "fuzz" / "corpus" / name for name in ("heads", "upgrade")]
FOUND = ROOT / "build" / "fuzz"

WORDS = b"""GET HEAD POST HTTP/1.1 HTTP/1.0 Host Upgrade websocket Connection Sec-WebSocket-Key Sec-WebSocket-Version 13
Sec-WebSocket-Protocol Sec-WebSocket-Extensions permessage-deflate pubsub pubsub-client-name Origin Content-Length
Transfer-Encoding chunked Expect 100-continue publisher subscriber pubsub.duplex ?pubsub= &name= %00 %zz http:// ws://a/b
[::1] xn-- xn--a-ecp.ru @ # .. : , ; = / null https://a.example.com""".split()
WORDS += [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b": ", b" ", b"\t", b" HTTP/1.1\r\n", b"\r\n "]
WORDS += [b"\0", b"\x7f", b"\x80", b"\xff", b"\x0b", b"\x0c", b"\x1f", b"\xc3\xa9"]


def changed(random_: random.Random, head: bytes, others: list[bytes]) -> bytes:
    """One change."""
    kind = random_.randrange(9)
    if kind < 4:
        return changed_lines(random_, head, random_.choice(others), kind)
    at = random_.randrange(len(head) + 1)
    size = random_.choice([0, 1, 1, 2, 8, 40])
    if kind == 4:
        return head[:at] + random_.choice(WORDS) + head[at + size :]
    if kind == 5:
        return head[:at] + random_.randbytes(random_.choice([0, 1, 3])) + head[at + size :]
    if kind == 6:  # what is there again and again: work must not grow with the square of it
        return again_and_again(random_, head, at, head[at : at + size] or random_.choice(WORDS))
    if kind == 7:
        return head[: at + 1] if random_.random() < 0.2 else head + random_.choice(others)[:200]
    return head.swapcase() if random_.random() < 0.2 else head.replace(random_.choice(WORDS), random_.choice(WORDS), 1)


def again_and_again(random_: random.Random, head: bytes, at: int, part: bytes) -> bytes:
    """As often as there is room, anywhere or where a header's value begins, with a last word."""
    if random_.random() < 0.5:
        at = max(head.find(b": ", at), 0) + 2
    last = random_.choice([b"", random_.choice(WORDS)])
    room = max(LIMIT - len(head) - len(last), 0) if random_.random() < 0.8 else 2 * LIMIT
    times = 1 + int(room * random_.choice([1, random_.random()])) // len(part)
    return (head[:at] + part * (times - 1) + last + head[at:])[: 2 * LIMIT]


def changed_lines(random_: random.Random, head: bytes, other: bytes, kind: int) -> bytes:
    lines, theirs = head.split(b"\r\n"), other.split(b"\r\n")
    at = random_.randrange(len(lines))
    if kind == 0:
        lines[at:at] = [random_.choice(theirs)]
    elif kind == 1:
        lines[at] = random_.choice(theirs)
    elif kind == 2:
        del lines[at]
    else:
        lines[at:at] = [lines[at]] * random_.choice([1, 1, 2, 50, 2000])
    return b"\r\n".join(lines)[: 2 * LIMIT]


def random_head(random_: random.Random, corpus: list[bytes]) -> bytes:
    head = random_upgrade(random_) if random_.random() < 0.4 else random_.choice(corpus)
    for _ in range(random_.choice([0, 1, 1, 2, 4])):
        head = changed(random_, head, corpus)
    return head


def read_corpus() -> list[bytes]:
    paths = itertools.chain.from_iterable(sorted(folder.iterdir()) for folder in CORPORA)
    return [*SENT_BY.values(), *(path.read_bytes() for path in paths)]


def tried(data: bytes, cut_seed: str, name: str) -> object:
    """What became of it; None, and the head is kept, where something does not hold."""
    try:
        answer, what, _ = check_head(data, random.Random(cut_seed))
    except Exception:
        FOUND.mkdir(parents=True, exist_ok=True)
        path = FOUND / f"heads-{name}"
        path.write_bytes(data)
        traceback.print_exc()
        print(f"heads: FAILED with cuts {cut_seed}, kept in {path}: {data[:300]!r}", flush=True)
        return None
    return answer[9:12].decode() if what else "more awaited"


def run(heads: int, seconds: float, seed: str) -> int:
    start, corpus, outcomes = time.monotonic(), read_corpus(), Counter[object]()
    for index, head in enumerate(corpus):
        if tried(head, "corpus", f"corpus-{index}") is None:
            return 1
    done = 0
    while done < heads and time.monotonic() - start < seconds:
        random_ = random.Random(f"{seed}/{done}")
        outcome = tried(random_head(random_, corpus), f"{seed}/{done}", f"{seed}-{done}")
        if outcome is None:
            return 1
        outcomes[outcome] += 1
        done += 1
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    passed = time.monotonic() - start
    print(f"heads: {len(corpus)} of the corpus, {done} random ones in {passed:.0f} s; {told}; seed={seed}")
    return 0


def run_guided(seconds: float) -> None:
    import atheris  # not among what `make` installs: a large wheel, for a few systems, of use for hours only

    with atheris.instrument_imports(include=["pubsub", "wsproto", "h11"]):
        for name in [it for it in sys.modules if it.split(".")[0] in ("pubsub", "wsproto", "h11")]:
            del sys.modules[name]
        del sys.modules["tests.support.heads"]
        from tests.support.heads import check_head as check

    others = read_corpus()

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random_ = random.Random(seed)
        if random_.random() < 0.3:
            return bytes(atheris.Mutate(data, most))
        head = changed(random_, data, others) if random_.random() < 0.95 else random_upgrade(random_)
        return head[:most]

    new = FOUND / "corpus" / "heads"
    new.mkdir(parents=True, exist_ok=True)
    flags = [f"-max_total_time={seconds:.0f}", f"-artifact_prefix={FOUND}/heads-", f"-max_len={LIMIT + 512}"]
    folders = [str(new), *map(str, CORPORA)]
    atheris.Setup(
        [sys.argv[0], *flags, *folders], lambda data: check(data, random.Random(len(data))), custom_mutator=mutate
    )
    atheris.Fuzz()


def main() -> int:
    given = settings(sys.argv[1:], heads="", guided="")
    seconds = float(given["seconds"] or (1e9 if given["heads"] else 60))
    if given["input"]:
        path = Path(given["input"])
        held = all(tried(path.read_bytes(), str(cuts), path.name) is not None for cuts in range(100))
        print(f"heads: {'holds' if held else 'FAILED'} for {path}")
        return 0 if held else 1
    if given["guided"]:
        run_guided(seconds)
    return run(int(given["heads"] or 1 << 62), seconds, given["seed"])


if __name__ == "__main__":
    sys.exit(main())
