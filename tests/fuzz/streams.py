"""Random lives of clients, played to an engine with the lane and to one without it, beside each other.

    python -m tests.fuzz.streams [streams=1000000] [seconds=60] [seed=1] [from=0] [input=build/fuzz/streams-...]

A life is a stream of bytes cut anywhere, mostly frames, that ends with a Close, with something against the rules or
anywhere; a finished stream, a client that is gone, or one that never read; and perhaps a Close of the server's that
crosses the client's. Compared are the log, the answers, the departure's cause, and what is counted; nothing may be left
of a client. The first that differs ends the run: it is made smaller, and kept in build/fuzz.

A run is a row of blocks, each the work of the seed and its number: `from` is the first. `input` plays one kept life.
"""

import gc
import sys
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.settings import settings
from tests.support.bothways import BothWays, difference_of, read_script, shrunk, write_script
from tests.support.clientstreams import Script, Scripts

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus" / "streams"
FOUND = ROOT / "build" / "fuzz"
BLOCK = 1024
# Blocks that one pair of engines plays before they end, and have to leave nothing behind.
BLOCKS_OF_AN_ENGINE = 32
TELL_EVERY = 60.0  # seconds


def tell(script: Script, what: str, where: str) -> int:
    """Of one that differs: what is left of it, and where it is kept."""
    print(f"{where}: {what}")
    path = FOUND / f"streams-{where}.json"
    if difference_of(script):
        script = shrunk(script)
        print(f"smaller: {difference_of(script)}")
    else:
        print("alone it makes no difference; only among the others of its block, or by chance")
    write_script(path, script)
    print(f"kept in {path}: {str(script)[:1500]}")
    return 1


def replay(path: Path) -> int:
    difference = difference_of(read_script(path))
    print(f"streams: {path} makes a difference\n{difference}" if difference else f"streams: holds for {path}")
    return 1 if difference else 0


def play_corpus() -> int:
    for path in sorted(CORPUS.iterdir()):
        if difference := difference_of(read_script(path)):
            print(f"streams: {path} makes a difference\n{difference}")
            return 1
    return 0


def run(streams: int, seconds: float, seed: str, block: int) -> int:
    start, cpu, done, size = time.monotonic(), time.process_time(), 0, 0
    departures, tell_at = Counter[str](), start + TELL_EVERY
    while done < streams and time.monotonic() - start < seconds:
        ways = BothWays()
        for _ in range(BLOCKS_OF_AN_ENGINE):
            scripts = Scripts(f"{seed}/{block}")
            lives = [scripts.take() for _ in range(min(BLOCK, streams - done))]
            try:
                different = ways.play(lives)
            except BaseException:
                print(f"streams: FAILED in seed={seed} from={block} streams={BLOCK}", flush=True)
                raise
            if different:
                index, what = next(iter(different.items()))
                return tell(lives[index], what, f"{seed}-{block}-{index}")
            done, block = done + len(lives), block + 1
            size += sum(len(piece) for life in lives for piece in life.pieces)
            if done == streams or time.monotonic() - start > seconds:
                break
        departures.update(ways.departures())
        ways.end()
        if time.monotonic() > tell_at:
            print(f"streams: {done} so far", flush=True)
            tell_at = time.monotonic() + TELL_EVERY
    passed, used = time.monotonic() - start, time.process_time() - cpu
    causes = ", ".join(f"{count} {cause}" for cause, count in departures.most_common())
    print(
        f"streams: {done} of {size / 1e6:.0f} MB both ways without a difference in {passed:.0f} s "
        f"({used:.0f} s of CPU); {causes}; seed={seed}"
    )
    return 0


def main() -> int:
    given = settings(sys.argv[1:], streams="", **{"from": "0"})
    if given["input"]:
        return replay(Path(given["input"]))
    # wsproto's objects refer to each other; there is nothing else to collect.
    gc.freeze()
    gc.set_threshold(20_000)
    streams = int(given["streams"] or 1 << 62)
    seconds = float(given["seconds"] or (1e9 if given["streams"] else 60))
    return play_corpus() or run(streams, seconds, given["seed"], int(given["from"]))


if __name__ == "__main__":
    sys.exit(main())
