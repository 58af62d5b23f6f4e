"""Publishers killed with SIGKILL wherever they happen to be: what they sent whole arrives, and half a message never."""

import asyncio
import random
import signal

import pytest

from tests.support.crew import crew
from tests.support.processes import TESTS_ON_PATH, Program
from tests.support.server import serving, wait_until

# Sends numbered messages for ever, whole and in fragments, in pieces of any size. After each that the kernel has taken
# all of it says so.
SENDS = """
import random, socket, sys
from tests.support.rawclient import CONTINUATION, frame, request

port, who, most_bytes, seed = map(int, sys.argv[1:])
random_ = random.Random(seed)
sock = socket.create_connection(("127.0.0.1", port))
sock.sendall(request("/t", role="publisher"))
assert b" 101 " in sock.recv(4096)
number = 0
while True:
    message = b"%d %d " % (who, number) + random_.randbytes(random_.randrange(most_bytes))
    message += b" end"
    cut = random_.randrange(len(message))
    data = frame(message)
    if random_.random() < 0.5:
        data = frame(message[:cut], fin=False) + frame(message[cut:], CONTINUATION)
    while data:
        size = random_.choice([1, 100, 10_000, len(data)])
        sock.sendall(data[:size])
        data = data[size:]
    print(number, flush=True)
    number += 1
"""

# The same by the project's own client.
PUBLISHES = """
import sys
from pubsub.sync import Publisher

port, who, most_bytes, _ = map(int, sys.argv[1:])
with Publisher(f"ws://127.0.0.1:{port}/t") as publisher:
    number = 0
    while True:
        publisher.publish(b"%d %d " % (who, number) + bytes(most_bytes) + b" end")
        publisher.flush()
        print(number, flush=True)
        number += 1
"""

PUBLISHERS = 4


async def kill(program: Program, lines: int) -> int:
    """Reads so many of its lines, and ends it; the number of the last message it has said to be sent."""
    loop = asyncio.get_running_loop()
    for _ in range(lines):
        await loop.run_in_executor(None, program.line)
    program.signal(signal.SIGKILL)
    said = (await loop.run_in_executor(None, program.finish_with_open_input)).stdout.split(b"\n")[:-1]
    return int(said[-1]) if said else lines - 1


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "no lane"])
@pytest.mark.parametrize(
    ("script", "most_bytes"), [(SENDS, 3000), (SENDS, 2_000_000), (PUBLISHES, 1_000_000)],
    ids=["small", "large", "own client"],
)  # fmt: skip
async def test_a_publisher_killed_in_the_middle_of_a_message_leaves_the_whole_ones(
    script: str, most_bytes: int, lane: bool
) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    random_ = random.Random(seed)
    async with serving(lane=lane) as scene, crew() as people:
        await people.join(scene.server.port)
        heard = people.heard[0]
        for who in range(PUBLISHERS):
            arguments = map(str, (scene.server.port, who, most_bytes, random_.randrange(1 << 30)))
            with Program("-c", script, *arguments, environment=TESTS_ON_PATH) as program:
                sent = await kill(program, random_.randrange(1, 12))
            await wait_until(lambda: scene.server.stats().publishers == 0, "its departure")
            scene.server.publish("/t", b"and on")
            await wait_until(lambda: heard[-1:] == [b"and on"], "what comes after it")
            heard.pop()
            numbers = [int(message.split(b" ", 2)[1]) for message in heard]
            assert all(message.startswith(b"%d " % who) and message.endswith(b" end") for message in heard)
            assert numbers == list(range(len(numbers)))
            assert len(numbers) > sent
            heard.clear()
        await wait_until(lambda: scene.server.stats().memory_bytes == 0, "no memory held")
