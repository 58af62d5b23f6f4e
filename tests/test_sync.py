"""The clients for programs without asyncio."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

import pubsub.sync
from pubsub import ConnectFailed, ConnectionClosed, MisuseError, UnhandledMessageType
from tests.support.interrupts import interrupted_soon
from tests.support.peers import refused_url, threaded_server
from tests.support.processes import Program

PATIENCE = 30.0


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
    publisher, subscriber = pubsub.sync.Publisher("ws://a.example/"), pubsub.sync.Subscriber("ws://a.example/")
    calls: list[Callable[[], object]] = [lambda: publisher.publish(b"x"), publisher.flush]
    for call in [*calls, publisher.wait_closed, lambda: next(subscriber), subscriber.wait_closed]:
        with pytest.raises(MisuseError, match=r"not open.*call open\(\) first"):
            call()
    publisher.close()
    for call in calls:
        with pytest.raises(ConnectionClosed, match="closed by us with code 1000"):
            call()
    publisher.wait_closed()
    publisher.close()


@pytest.mark.parametrize("opened", [True, False])
def test_one_that_was_closed_says_so_and_not_that_it_is_to_be_opened(opened: bool) -> None:
    with threaded_server(list) as url:
        publisher, subscriber = pubsub.sync.Publisher(url), pubsub.sync.Subscriber(url)
        for client in (publisher, subscriber):
            if opened:
                client.open()
            client.close()
        calls: list[Callable[[], object]] = [lambda: publisher.publish(b"x"), publisher.flush]
        for call in calls:
            with pytest.raises(ConnectionClosed, match="closed by us with code 1000"):
                call()
        publisher.wait_closed()
        assert list(subscriber) == []
        for client in (publisher, subscriber):
            with pytest.raises(MisuseError, match="closed already"):
                client.open()


def test_what_it_had_when_it_was_closed_is_iterated_and_then_why_it_ended() -> None:
    def publish(peer: Any) -> None:
        peer.send(b"1")
        peer.send(b"2")
        peer.close(1012)

    with threaded_server(publish) as url:
        with pubsub.sync.Subscriber(url) as subscriber:
            subscriber.wait_closed()
        assert next(subscriber) == b"1"
        assert next(subscriber) == b"2"
        with pytest.raises(ConnectionClosed, match="1012"):
            next(subscriber)


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


def test_all_may_close_at_once() -> None:
    ended: list[object] = []

    def close(client: pubsub.sync.Publisher, together: threading.Barrier) -> None:
        together.wait(PATIENCE)
        try:
            client.close()
            ended.append("closed")
        except BaseException as error:
            ended.append(error)

    with threaded_server(list) as url:
        for _ in range(100):
            publisher, together = pubsub.sync.Publisher(url).open(), threading.Barrier(4)
            threads = [threading.Thread(target=close, args=(publisher, together)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert ended == ["closed"] * 400


def test_who_publishes_while_another_closes_is_told_that_it_is_closed() -> None:
    raised: list[BaseException] = []

    def publish(client: pubsub.sync.Publisher) -> None:
        try:
            while True:
                client.publish(b"x")
        except BaseException as error:
            raised.append(error)

    with threaded_server(list) as url:
        for _ in range(30):
            publisher = pubsub.sync.Publisher(url).open()
            threads = [threading.Thread(target=publish, args=(publisher,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            publisher.close()
            for thread in threads:
                thread.join()
    assert {(type(error), str(error)) for error in raised} == {
        (ConnectionClosed, "connection closed by us with code 1000 (normal)")
    }


def test_a_client_whose_loop_was_ended_under_it_says_that_it_is_closed(loop_errors: list[str]) -> None:
    with threaded_server(list) as url:
        publisher, subscriber = pubsub.sync.Publisher(url).open(), pubsub.sync.Subscriber(url).open()
        for client in (publisher, subscriber):
            # As a close() that Ctrl-C interrupts leaves it.
            client._stop()
        with pytest.raises(ConnectionClosed):
            publisher.publish(b"x")
        with pytest.raises(ConnectionClosed):
            next(subscriber)
        for client in (publisher, subscriber):
            client.wait_closed()
            client.close()
    assert loop_errors  # the tasks that were ended
    loop_errors.clear()


OUT_OF_DESCRIPTORS = """
import errno, os, resource, sys, threading
import pubsub.sync
from pubsub import ConnectFailed

left = int(sys.argv[1])
client = getattr(pubsub.sync, sys.argv[2])("ws://127.0.0.1:1/a")
held = []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    while True:
        held.append(os.dup(0))
except OSError as error:
    assert error.errno == errno.EMFILE
for number in held[:left]:
    os.close(number)
for _ in range(2):
    try:
        client.open()
    except ConnectFailed as error:
        print(isinstance(error.__cause__, OSError), client._lock.locked(), threading.active_count())
client.close()
"""


@pytest.mark.parametrize("kind", ["Publisher", "Subscriber"])
@pytest.mark.parametrize("left", [0, 1, 2])
def test_without_descriptors_for_its_loop_open_raises(left: int, kind: str) -> None:
    with Program("-c", OUT_OF_DESCRIPTORS, str(left), kind) as program:
        # CPython itself complains of the loop that it could not finish, on standard error.
        assert program.finish().stdout == b"True False 1\n" * 2


# --- forks ----------------------------------------------------------------------------------------------------------


class Forked:
    """A child that does this, and lives no longer; what it says."""

    def __init__(self, work: Callable[[], object]) -> None:
        said, say = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(round(PATIENCE))
                os.write(say, str(work()).encode())
            except BaseException as error:
                os.write(say, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(0)
        os.close(say)
        with os.fdopen(said) as answer:
            self.said = answer.read()
        assert os.waitpid(self._pid, 0)[1] == 0, "the child hung"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_a_forked_child_a_client_of_its_parent_s_says_so_and_the_parent_goes_on() -> None:
    received: list[bytes | str] = []

    def publish(peer: Any) -> None:
        for number in range(3):
            peer.send(b"%d" % number)
        received.extend(peer)

    with (
        threaded_server(publish) as url,
        pubsub.sync.Publisher(url) as publisher,
        pubsub.sync.Subscriber(url) as subscriber,
    ):
        publisher.publish(b"from the parent")
        assert next(subscriber) == b"0"
        calls: list[Callable[[], object]] = [lambda: publisher.publish(b"x"), publisher.flush, publisher.open]
        for call in [*calls, publisher.wait_closed, lambda: next(subscriber), subscriber.wait_closed]:
            said = Forked(call).said
            assert said.startswith("MisuseError: this client was opened before the process forked")
        for client in (publisher, subscriber):
            assert Forked(client.close).said == "None"
        assert [next(subscriber) for _ in range(2)] == [b"1", b"2"]
        publisher.publish(b"still there")
    assert received == [b"from the parent", b"still there"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_may_open_what_its_parent_has_not() -> None:
    received: list[bytes | str] = []

    def use(publisher: pubsub.sync.Publisher) -> None:
        with publisher:
            publisher.publish(b"from the child")

    with threaded_server(received.extend) as url:
        publisher = pubsub.sync.Publisher(url)
        with publisher._lock:  # as if another thread had called just then
            assert Forked(lambda: use(publisher)).said == "None"
    assert received == [b"from the child"]
