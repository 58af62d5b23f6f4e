"""Ready queues: which of many readers have something to read, by one descriptor."""

import gc
from collections.abc import Callable, Iterator

import pytest

from fastfan import Engine, EngineClosed, MisuseError, ReadyQueue, Topic
from tests.support.engine import Rig
from tests.support.sockets import readable


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/ready")


@pytest.fixture
def queue(rig: Rig) -> Iterator[ReadyQueue]:
    queue = ReadyQueue(rig.engine)
    yield queue
    queue.close()


def test_it_names_a_reader_once_until_it_was_read(queue: ReadyQueue, topic: Topic) -> None:
    with topic.reader(ready=queue) as reader, topic.reader() as untold:
        assert queue.take() == [] and not readable(queue.fileno())
        topic.publish(b"a")
        topic.publish(b"b")
        assert readable(queue.fileno())
        assert queue.take() == [reader.token] and untold.token != reader.token
        assert queue.take() == [] and not readable(queue.fileno())
        topic.publish(b"c")
        assert queue.take() == []  # it was told, and has not read


def test_one_that_was_not_read_to_the_end_comes_again(queue: ReadyQueue, topic: Topic) -> None:
    with topic.reader(ready=queue) as reader:
        topic.publish(b"a")
        topic.publish(b"b")
        assert queue.take() == [reader.token]
        assert len(reader.read(1)) == 1
        assert queue.take() == [reader.token]
        assert len(reader.read(1)) == 1
        assert queue.take() == []
        topic.publish(b"c")
        assert queue.take() == [reader.token]


def test_who_waits_longest_comes_first_and_no_more_than_asked_for(rig: Rig, queue: ReadyQueue) -> None:
    topics = [rig.engine.topic(f"/{index}") for index in range(5)]
    readers = [topic.reader(ready=queue) for topic in topics]
    for index in (3, 0, 4, 1, 2):
        topics[index].publish(b"x")
    assert queue.take(2) == [readers[3].token, readers[0].token]
    assert readable(queue.fileno())
    readers[4].close()
    assert queue.take() == [readers[1].token, readers[2].token]
    assert not readable(queue.fileno())


def test_one_that_is_gone_is_named_no_more(queue: ReadyQueue, topic: Topic) -> None:
    reader = topic.reader(ready=queue)
    topic.publish(b"a")
    reader.close()
    assert not readable(queue.fileno()) and queue.take() == []
    reader = topic.reader(ready=queue)
    topic.publish(b"a")
    del reader
    gc.collect()
    assert not readable(queue.fileno()) and queue.take() == []


def test_it_names_one_that_has_ended(rig: Rig, queue: ReadyQueue) -> None:
    topic = rig.engine.topic("/end", max_lag_bytes=1000)
    with topic.reader(ready=queue) as reader:
        topic.publish(bytes(600))
        assert queue.take() == [reader.token]
        rig.until(lambda: topic.publish(bytes(600)) and topic.subscribers == 0)
        assert queue.take() == [reader.token]


def test_it_names_all_when_the_engine_is_closed(rig: Rig, queue: ReadyQueue, topic: Topic) -> None:
    readers = [topic.reader(ready=queue) for _ in range(3)]
    rig.engine.close()
    assert sorted(queue.take()) == sorted(reader.token for reader in readers)
    with pytest.raises(EngineClosed):
        queue.fileno()
    with pytest.raises(EngineClosed):
        ReadyQueue(rig.engine)


def test_its_readers_go_on_when_it_is_closed(rig: Rig, topic: Topic) -> None:
    queue = ReadyQueue(rig.engine)
    reader = topic.reader(ready=queue)
    topic.publish(b"a")
    queue.close()
    queue.close()
    topic.publish(b"b")
    assert [data for _, data in reader.read()] == [b"a", b"b"]
    topic.publish(b"c")
    assert queue.take() == [reader.token]
    with pytest.raises(MisuseError, match="this ready queue is closed"):
        queue.fileno()
    del queue
    topic.publish(b"d")  # the reader keeps it alive
    assert len(reader.read()) == 2
    reader.close()


def test_a_queue_of_another_engine_is_refused(make_rig: Callable[..., Rig], topic: Topic) -> None:
    other: Engine = make_rig().engine
    with pytest.raises(MisuseError, match="belongs to another engine than the ready queue"):
        topic.reader(ready=ReadyQueue(other))


def test_a_reader_waits_for_others_that_lag_and_not_for_itself(rig: Rig, queue: ReadyQueue) -> None:
    topic = rig.engine.topic("/paced", pace_lag_bytes=1000)
    with topic.reader(ready=queue) as own:
        while not topic.paced:
            topic.publish(bytes(100))
        assert not own.paced_for_others
        with topic.reader() as other:
            while own.read():
                pass
            assert not topic.paced
            while not topic.paced:
                topic.publish(bytes(100))
                own.read()
            assert own.paced_for_others and not other.paced_for_others
            while other.read():
                pass
            assert not own.paced_for_others
