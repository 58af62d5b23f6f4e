"""What an embedder's program does, run by the interpreter the embedder was compiled for (never collected as a test)."""

import asyncio
import errno
import sys

import embedder  # type: ignore[import-not-found]  # compiled by the test

import fastfan
import pubsub

COUNT = 1000


async def check_delivery() -> None:
    """A native thread publishes; a subscriber on a socket and a reader in this process get all of it."""
    async with asyncio.timeout(20), pubsub.serve(port=0) as server, server.subscribe("/native") as reader:
        async with pubsub.Subscriber(f"{server.url}/native", text=True) as subscriber:
            assert embedder.publish_from_a_thread_of_its_own(server.topic("/native"), COUNT) == COUNT
            expected = [str(number) if number % 2 else b"%d" % number for number in range(COUNT)]
            for messages in (aiter(subscriber), aiter(reader)):
                assert [await anext(messages) for _ in range(COUNT)] == expected


def check_answers() -> None:
    """Offsets where it was published, negative numbers where it was not."""
    engine = fastfan.Engine(max_memory_bytes=1 << 20)
    topic = engine.topic("/answers")
    held = embedder.Held(topic)
    with topic.reader() as reader:
        assert embedder.publish(topic, b"one") == 1
        assert embedder.publish_many(topic, [b"%d" % number for number in range(100)]) == 101
        assert embedder.publish_many(topic, ["é".encode()], text=True) == 102
        assert embedder.publish_many(topic, []) == 102
        assert embedder.publish(topic, b"\xff", text=True) == -errno.EILSEQ
        assert embedder.publish(topic, bytes(2 << 20)) == -errno.ENOBUFS
        assert embedder.publish_many(topic, [bytes(500_000)] * 3) == -errno.ENOBUFS
        expected = [b"one", *(b"%d" % number for number in range(100)), "é"]
        assert reader.read() == list(enumerate(expected, 1))
        assert held.look() == (topic.epoch, 103, 1, True)
    engine.close()
    assert held.publish(b"late") == -errno.ESHUTDOWN
    for wrong, error in ((topic, fastfan.EngineClosed), (None, fastfan.MisuseError), ("/a", fastfan.MisuseError)):
        try:
            embedder.publish(wrong, b"x")
        except error:
            continue
        raise AssertionError(f"{wrong!r} was taken")


if __name__ == "__main__":
    compiled, here = embedder.abi()
    assert compiled == here
    asyncio.run(check_delivery())
    check_answers()
    print("embeds", sys.version.split()[0])
