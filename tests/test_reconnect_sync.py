"""Coming back, for programs without asyncio."""

import queue
import threading
from typing import Any

import pytest

import pubsub.sync
from pubsub import ClosedBy, ConnectionClosed, Gap, MisuseError, Reconnect
from tests.support.comingback import AT_ONCE, in_turn_threaded
from tests.support.interrupts import interrupted_soon
from tests.support.peers import threaded_server

PATIENCE = 30.0
LONG = Reconnect(first_delay=3600.0, max_delay=3600.0)


def sends(code: int, *messages: bytes) -> Any:
    def serve(peer: Any) -> None:
        for message in messages:
            peer.send(message)
        peer.close(code)

    return serve


def test_an_iteration_goes_on_over_the_loss_and_tells_of_it_in_order_in_its_own_thread() -> None:
    seen: list[Any] = []

    def on_gap(gap: Gap) -> None:
        seen.append((gap.missed, threading.current_thread()))

    script = in_turn_threaded(sends(1012, b"1", b"2"), sends(1013, b"3"), sends(1000, b"4"))
    with (
        threaded_server(script) as url,
        pubsub.sync.Subscriber(url, reconnect=AT_ONCE, on_gap=on_gap) as subscriber,
    ):
        for message in subscriber:
            seen.append(message)
    here = threading.current_thread()
    assert seen == [b"1", b"2", (None, here), b"3", (None, here), b"4"]


def test_what_on_gap_raises_the_iteration_raises_and_then_it_goes_on() -> None:
    def on_gap(gap: Gap) -> None:
        raise LookupError("of the program")

    script = in_turn_threaded(sends(1012, b"1"), sends(1000, b"2"))
    with (
        threaded_server(script) as url,
        pubsub.sync.Subscriber(url, reconnect=AT_ONCE, on_gap=on_gap) as subscriber,
    ):
        assert next(subscriber) == b"1"
        with pytest.raises(LookupError):
            next(subscriber)
        assert list(subscriber) == [b"2"]


def test_a_publisher_waits_while_it_is_away_and_tells_what_may_be_lost() -> None:
    gaps: queue.Queue[Gap] = queue.Queue()
    received: list[bytes | str] = []

    def takes_one(peer: Any) -> None:
        received.append(peer.recv())
        peer.close(1012)

    with (
        threaded_server(in_turn_threaded(takes_one, received.extend)) as url,
        pubsub.sync.Publisher(url, reconnect=AT_ONCE, on_gap=gaps.put) as publisher,
    ):
        publisher.publish(b"one")
        assert gaps.get(timeout=PATIENCE).unconfirmed == 1
        publisher.publish(b"two")
        assert publisher.unconfirmed == 1
        with pytest.raises(ConnectionClosed, match="1012"):
            publisher.flush()
        publisher.flush()
        assert publisher.unconfirmed == 0
    assert received == [b"one", b"two"]
    assert publisher.error is None


def test_close_ends_one_that_is_away() -> None:
    away = threading.Event()

    def closes(peer: Any) -> None:
        peer.close(1012)

    with threaded_server(closes) as url:
        subscriber = pubsub.sync.Subscriber(url, reconnect=LONG, on_away=lambda error: away.set()).open()
        received: list[bytes] = []
        iterating = threading.Thread(target=lambda: received.extend(subscriber))
        iterating.start()
        assert away.wait(PATIENCE)
        subscriber.close()
        iterating.join()
        assert received == []
        assert isinstance(subscriber.error, ConnectionClosed)
        assert subscriber.error.by is ClosedBy.US


def test_a_callback_in_the_client_s_thread_cannot_call_the_client() -> None:
    raised: queue.Queue[BaseException] = queue.Queue()

    def on_away(error: object) -> None:
        try:
            publisher.publish(b"from the callback")
        except MisuseError as misuse:
            raised.put(misuse)
        try:
            publisher.close()
        except MisuseError as misuse:
            raised.put(misuse)

    with threaded_server(in_turn_threaded(sends(1012), list)) as url:
        publisher = pubsub.sync.Publisher(url, reconnect=AT_ONCE, on_away=on_away)
        publisher.open()
        for _ in range(2):
            assert "use another thread" in str(raised.get(timeout=PATIENCE))
        publisher.publish(b"it lives")
        publisher.close()


def test_ctrl_c_while_it_is_away_ends_the_call_and_the_client_comes_back() -> None:
    away, go_on = threading.Event(), threading.Event()

    def publish(peer: Any) -> None:
        assert go_on.wait(PATIENCE)
        peer.send(b"after")

    with (
        threaded_server(in_turn_threaded(sends(1012), publish)) as url,
        pubsub.sync.Subscriber(url, reconnect=AT_ONCE, on_away=lambda error: away.set()) as subscriber,
    ):
        assert away.wait(PATIENCE)
        with interrupted_soon():
            next(subscriber)
        go_on.set()
        assert list(subscriber) == [b"after"]
