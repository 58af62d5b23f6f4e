"""What a user's first minute does, run by the interpreter of a clean environment (never collected as a test)."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import fastfan
import pubsub

FASTPUBSUB = str(Path(sys.executable).with_name("fastpubsub"))


def check_place() -> None:
    """The packages are this environment's, not the source tree's, and the engine is in its package."""
    for package in (fastfan, pubsub):
        assert package.__file__ is not None
        assert Path(package.__file__).is_relative_to(sys.prefix), package.__file__
    assert list(Path(fastfan.__file__).parent.glob("_*.so"))


async def check_library() -> None:
    """A server, a publisher and a subscriber in one program."""
    async with asyncio.timeout(10), pubsub.serve(port=0) as server:
        url = f"{server.url}/packaging"
        async with pubsub.Subscriber(url) as subscriber, pubsub.Publisher(url) as publisher:
            await publisher.publish(b"hello")
            await publisher.flush()
            assert await anext(aiter(subscriber)) == b"hello"


def check_command() -> None:
    """The same with the command: three processes, and a server that ends well on SIGTERM."""
    version = subprocess.run([FASTPUBSUB, "--version"], check=True, capture_output=True, text=True).stdout
    assert pubsub.__version__ in version, version
    serve = [FASTPUBSUB, "serve", "127.0.0.1:0", "--events", "json"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["listening"] + "/packaging"
        with subprocess.Popen([FASTPUBSUB, "sub", url, "--count", "1"], stdout=subprocess.PIPE) as subscriber:
            assert json.loads(server.stdout.readline())["type"] == pubsub.EventType.SUBSCRIBER_JOINED
            subprocess.run([FASTPUBSUB, "pub", url, "hello"], check=True, timeout=10)
            received, _ = subscriber.communicate(timeout=10)
            assert received == b"hello\n", received
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=20)
        assert server.returncode == 0, server.returncode


if __name__ == "__main__":
    check_place()
    asyncio.run(check_library())
    check_command()
    print("works", sys.version.split()[0], pubsub.__version__)
