"""The clients for programs without asyncio."""

import threading
from typing import Any

import pytest

import pubsub.sync
from pubsub import ConnectFailed, ConnectionClosed, MisuseError, UnhandledMessageType
from tests.support.interrupts import interrupted_soon
from tests.support.peers import refused_url, threaded_server


def test_what_is_published_arrives_and_flush_returns_when_it_has() -> None:
    received: list[bytes | str] = []

    def collect(peer: Any) -> None:
        received.extend(peer)

    with threaded_server(collect) as url:
        with pubsub.sync.Publisher(url, name="me") as publisher:
            assert publisher.url == url
            assert publisher.client_id == ""
            for data in (b"one", "two", bytearray(b"three")):
                publisher.publish(data)
            publisher.flush()
            assert publisher.error is None
        assert publisher.error is None
    assert received == [b"one", "two", b"three"]


def test_iteration_yields_messages_until_the_server_is_done() -> None:
    def publish(peer: Any) -> None:
        for number in range(500):
            peer.send(b"%d" % number)

    with threaded_server(publish) as url, pubsub.sync.Subscriber(url) as subscriber:
        assert list(subscriber) == [b"%d" % number for number in range(500)]
        subscriber.wait_closed()
        assert isinstance(subscriber.error, ConnectionClosed)


def test_with_text_messages_come_as_str() -> None:
    with (
        threaded_server(lambda peer: peer.send("text")) as url,
        pubsub.sync.Subscriber(url, text=True) as subscriber,
    ):
        assert list(subscriber) == ["text"]


def test_errors_are_those_of_the_asyncio_clients() -> None:
    with threaded_server(lambda peer: peer.send("text")) as url, pubsub.sync.Subscriber(url) as subscriber:
        with pytest.raises(UnhandledMessageType):
            next(subscriber)
    with threaded_server(lambda peer: peer.close(1012, "restart")) as url, pubsub.sync.Publisher(url) as publisher:
        publisher.wait_closed()
        with pytest.raises(ConnectionClosed, match="1012"):
            publisher.publish(b"x")


def test_what_cannot_be_opened_leaves_no_thread_behind() -> None:
    publisher = pubsub.sync.Publisher(refused_url())
    with pytest.raises(ConnectFailed):
        publisher.open()
    assert isinstance(publisher.error, ConnectFailed)
    publisher.close()


def test_calls_on_a_client_that_is_not_open_are_the_caller_s_mistake() -> None:
    publisher = pubsub.sync.Publisher("ws://a.example/")
    with pytest.raises(MisuseError, match="not open"):
        publisher.publish(b"x")
    publisher.wait_closed()
    publisher.close()
    with pytest.raises(StopIteration):
        next(pubsub.sync.Subscriber("ws://a.example/"))


def test_a_client_opens_once() -> None:
    with threaded_server(lambda peer: list(peer)) as url, pubsub.sync.Publisher(url) as publisher:
        with pytest.raises(MisuseError, match="open already"):
            publisher.open()
        publisher.close()
        with pytest.raises(MisuseError, match="closed already"):
            publisher.open()


def test_pings_are_answered_while_the_program_is_busy() -> None:
    answered = threading.Event()

    def ping(peer: Any) -> None:
        assert peer.ping(b"there?").wait(10)
        answered.set()

    with threaded_server(ping) as url, pubsub.sync.Publisher(url):
        assert answered.wait(10)


def test_close_from_another_thread_ends_an_iteration() -> None:
    with threaded_server(lambda peer: list(peer)) as url, pubsub.sync.Subscriber(url) as subscriber:
        received: list[bytes] = []
        iterating = threading.Thread(target=lambda: received.extend(subscriber))
        iterating.start()
        subscriber.close()
        iterating.join()
        assert received == []


def test_ctrl_c_ends_the_call_that_waits_and_leaves_the_connection() -> None:
    go_on = threading.Event()

    def publish(peer: Any) -> None:
        go_on.wait(10)
        peer.send(b"after")

    with threaded_server(publish) as url, pubsub.sync.Subscriber(url) as subscriber:
        with interrupted_soon():
            next(subscriber)
        go_on.set()
        assert list(subscriber) == [b"after"]


def test_several_threads_may_publish() -> None:
    received: list[bytes] = []

    def collect(peer: Any) -> None:
        received.extend(peer)

    with threaded_server(collect) as url, pubsub.sync.Publisher(url) as publisher:

        def publish(number: int) -> None:
            for count in range(50):
                publisher.publish(bytes([number, count]))

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in range(4):
        assert [message[1] for message in received if message[0] == number] == list(range(50))
