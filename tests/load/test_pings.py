"""Pings, pongs, and what a server says to publishers."""

from fastfan.load import Load
from tests.support.falseserver import UPGRADED, Caller, Door, carry_out, false_server, server_frame, small_plan
from tests.support.rawclient import BINARY, PING, PONG, TEXT

COUNT = 10


def answers_every_ping(caller: Caller) -> None:
    for size in range(126):
        payload = bytes(range(size))
        caller.send(server_frame(payload, PING))
        assert caller.read_pong() == payload


def test_pings_of_every_size_are_answered_while_messages_come_and_go() -> None:
    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        messages = publisher.read_messages(COUNT)
        subscriber.send(messages[0])
        answers_every_ping(subscriber)
        answers_every_ping(publisher)
        subscriber.send(*messages[1:])

    with false_server(script) as port:
        assert carry_out(port).is_intact


def test_pings_are_answered_while_nothing_is_published() -> None:
    ended = []

    def script(door: Door) -> None:
        for caller in door.welcome(2):
            answers_every_ping(caller)
        ended.append(True)

    with false_server(script) as port, Load(small_plan(port)) as load:
        load.connect()
        while not ended:
            load.rest(0.01)


def test_a_ping_right_behind_the_upgrade_is_answered() -> None:
    ended = []

    def script(door: Door) -> None:
        for _ in range(2):
            caller = door.accept()
            caller.send(UPGRADED + server_frame(b"first", PING))
            assert caller.read_pong() == b"first"
        ended.append(True)

    with false_server(script) as port, Load(small_plan(port)) as load:
        load.connect()
        while not ended:
            load.rest(0.01)


def reads_again(subscriber: Caller) -> None:
    """The load has looked at everything that was sent before: it reads in turns, and two answers are one at least."""
    for _ in range(2):
        subscriber.send(server_frame(b"", PING))
        subscriber.read_pong()


def test_a_pong_waits_for_the_end_of_the_message_that_is_half_sent() -> None:
    size = 16 << 20

    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        publisher.wait_readable()
        publisher.send(server_frame(b"early", PING), server_frame(b"late", PING))
        reads_again(subscriber)
        message = publisher.read_message()
        # Of several pings the last is to be answered (RFC 6455 section 5.5.3), though there is no further message.
        assert publisher.read_pong() == b"late"
        subscriber.send(message)

    with false_server(script, receive_buffer=65536) as port:
        assert carry_out(port, messages=1, least_bytes=size, most_bytes=size).is_intact


def test_a_pong_that_waits_goes_with_its_connection() -> None:
    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        publisher.wait_readable()
        publisher.send(server_frame(b"for nobody", PING))
        reads_again(subscriber)
        publisher.reset()
        subscriber.send_close(1001)

    with false_server(script, receive_buffer=65536) as port:
        report = carry_out(port, messages=2, least_bytes=16 << 20, most_bytes=16 << 20)
    assert (report.departed, report.connections) == (2, 0)


def test_pongs_that_nobody_asked_for_are_ignored() -> None:
    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        for caller in (subscriber, publisher):
            caller.send(server_frame(b"", PONG), server_frame(bytes(125), PONG))
        subscriber.send(*publisher.read_messages(COUNT))

    with false_server(script) as port:
        assert carry_out(port).is_intact


def test_messages_to_a_publisher_are_ignored() -> None:
    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        messages = publisher.read_messages(COUNT)
        for size in (0, 1, 15, 16, 125, 126, 70_000, 1 << 20):
            publisher.send(server_frame(bytes(size), BINARY), server_frame(b"x" * size, TEXT))
        publisher.send(*messages, server_frame(b"still there", PING))
        assert publisher.read_pong() == b"still there"
        subscriber.send(*messages)

    with false_server(script) as port:
        report = carry_out(port)
    assert report.is_intact
    assert report.delivered == COUNT
