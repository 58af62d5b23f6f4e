"""Connections that end, servers that stop answering, and what a load still does then."""

from collections.abc import Callable

import pytest

from fastfan.load import Load, Report
from tests.support.falseserver import UPGRADED, Caller, Door, carry_out, false_server, server_frame, small_plan
from tests.support.rawclient import CLOSE, PING

COUNT = 10


def ended_by(end: Callable[[Caller], None], **plan: object) -> Report:
    """The report of a subscriber that got five of ten messages, and then `end`."""

    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        subscriber.send(*publisher.read_messages(COUNT)[:5])
        end(subscriber)

    with false_server(script) as port:
        return carry_out(port, messages=COUNT, **plan)


# -- Mid-run -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1008, 1012, 4999])
def test_a_close_mid_run_is_a_departure_with_its_code(code: int) -> None:
    def end(subscriber: Caller) -> None:
        subscriber.send_close(code, b"why")
        # RFC 6455 section 5.5.1: it echoes the code, and nothing else.
        assert subscriber.read_frame() == (CLOSE, code.to_bytes(2, "big"), True)

    report = ended_by(end)
    assert (report.departed, report.close_code) == (1, code)
    assert (report.lost, report.delivered, report.connections) == (5, 5, 1)
    assert not report.is_intact


def test_a_close_without_a_code_is_1005() -> None:
    assert ended_by(lambda subscriber: subscriber.send(server_frame(b"", CLOSE))).close_code == 1005


@pytest.mark.parametrize("end", [Caller.finish, Caller.reset], ids=["end of the stream", "reset"])
def test_an_end_without_a_close_is_1006(end: Callable[[Caller], None]) -> None:
    report = ended_by(end)
    assert (report.departed, report.close_code) == (1, 1006)
    assert report.lost > 0


def test_everything_in_front_of_the_end_of_the_stream_counts() -> None:
    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        subscriber.send(*publisher.read_messages(COUNT))
        subscriber.finish()

    for size in (16, 128, 100_000):
        with false_server(script) as port:
            report = carry_out(port, messages=COUNT, least_bytes=size, most_bytes=size)
        assert (report.delivered, report.lost, report.duplicated) == (COUNT, 0, 0)


def test_an_end_of_the_stream_in_the_middle_of_a_message_loses_it() -> None:
    def end(subscriber: Caller) -> None:
        subscriber.send(server_frame(bytes(128))[:70])
        subscriber.finish()

    report = ended_by(end, least_bytes=70_000, most_bytes=70_000)
    assert (report.departed, report.lost) == (1, 5)


def test_a_publisher_that_is_sent_away_publishes_no_more_and_the_others_do() -> None:
    def script(door: Door) -> None:
        subscriber, first, second = door.welcome(3)
        message = first.read_message()
        first.send_close(1009)
        assert first.read_frame().opcode == CLOSE
        subscriber.send(message)
        for _ in range(COUNT):
            subscriber.send(second.read_message())

    with false_server(script) as port:
        # In a window of one the next message waits for the one before.
        report = carry_out(port, messages=COUNT, publishers=2, window=1)
    assert (report.departed, report.close_code) == (1, 1009)
    assert (report.published, report.delivered, report.lost) == (1 + COUNT, 1 + COUNT, 0)


@pytest.mark.parametrize(
    "pace", [{"messages": COUNT}, {"messages": COUNT, "rate": 1000.0}, {"seconds": 0.05, "rate": 200.0}]
)
def test_a_publisher_that_is_gone_before_it_could_publish_is_not_waited_for(pace: dict[str, float]) -> None:
    def script(door: Door) -> None:
        subscriber, gone, publisher = door.welcome(3)
        gone.send_close(1001)
        gone.read_frame()
        subscriber.send(server_frame(b"", PING))
        subscriber.read_pong()
        subscriber.send(*publisher.read_messages(5 if "seconds" in pace else COUNT))

    with false_server(script) as port, Load(small_plan(port, publishers=2, **pace)) as load:
        load.connect()
        while load.report().connections == 3:
            load.rest(0.001)
        load.publish()
        report = load.report()
    assert (report.departed, report.close_code, report.lost) == (1, 1001, 0)
    assert report.delivered == report.published > 0


def test_a_subscriber_that_is_sent_away_while_the_others_connect_is_a_departure() -> None:
    def script(door: Door) -> None:
        away = door.accept()
        away.send(UPGRADED)
        away.send_close(1001)
        away.read_frame()
        door.accept().send(UPGRADED)

    with false_server(script) as port, Load(small_plan(port, connecting=1)) as load:
        load.connect()
        report = load.report()
    assert (report.connections, report.departed, report.close_code) == (1, 1, 1001)


@pytest.mark.parametrize("behind", [server_frame(b"\x03\xe9", CLOSE), b""])
def test_the_last_connection_may_end_right_behind_its_upgrade(behind: bytes) -> None:
    def script(door: Door) -> None:
        caller = door.accept()
        caller.send(UPGRADED + behind)
        caller.finish()

    with false_server(script) as port, Load(small_plan(port, publishers=0)) as load:
        load.connect()
        while load.report().connections:  # the end of the stream may come a little later
            load.rest(0.001)
        assert load.report().departed == 1


def test_what_the_slow_and_the_stalled_suffer_is_counted_apart() -> None:
    def script(door: Door) -> None:
        callers = door.welcome(4)
        *_, publisher = callers
        messages = publisher.read_messages(COUNT)
        # In the order of their numbers, as they came: steady, slow, stalled.
        for caller in callers[1:3]:
            caller.send(*messages[:2], *messages[5:])
            caller.send_close(1013)
            caller.finish()
        assert callers[1].read_frame().opcode == CLOSE
        callers[0].send(*messages)

    with false_server(script) as port:
        report = carry_out(port, connecting=1, subscribers=3, slow=1, stalled=1, slow_bytes_per_second=1e9)
    assert report.is_intact
    assert (report.slow_received, report.slow_missed, report.slow_departed) == (7, 3, 1)
    assert (report.stalled_received, report.stalled_departed) == (7, 1)


# -- Silence -------------------------------------------------------------------------------------------------------


def test_patience_ends_a_load_whose_server_stops_answering() -> None:
    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        subscriber.send(*publisher.read_messages(COUNT)[:5])
        subscriber.read_to_end()

    for pace in ({"messages": COUNT}, {"messages": COUNT, "rate": 1000.0}, {"messages": COUNT, "window": COUNT}):
        with false_server(script) as port:
            report = carry_out(port, patience_seconds=0.3, **pace)
        assert (report.delivered, report.lost, report.departed) == (5, 5, 0)
        assert not report.is_intact


def test_pings_are_no_progress() -> None:
    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        publisher.read_messages(COUNT)
        while True:
            try:
                subscriber.send(server_frame(b"", PING))
                if subscriber.read_frame().opcode == CLOSE:
                    return
            except (ConnectionError, EOFError):
                return

    with false_server(script) as port:
        assert carry_out(port, patience_seconds=0.2).lost == COUNT


def test_patience_ends_a_load_whose_server_reads_no_more() -> None:
    def script(door: Door) -> None:
        subscriber, _ = door.welcome(2)
        subscriber.read_to_end()

    with false_server(script) as port:
        report = carry_out(port, messages=1000, least_bytes=1 << 20, most_bytes=1 << 20, patience_seconds=0.3)
    assert 0 < report.published < 1000
    assert report.lost == report.published


@pytest.mark.parametrize("plan", [{"subscribers": 0}, {"stalled": 1}, {"slow": 1, "slow_bytes_per_second": 1.0}])
def test_where_nobody_reads_what_is_sent_is_progress(plan: dict[str, float]) -> None:
    """As long as the server takes messages the load goes on, however short its patience."""

    def script(door: Door) -> None:
        *_, publisher = door.welcome(1 + int(plan.get("subscribers", 1)))
        publisher.read_to_end()

    with false_server(script) as port:
        report = carry_out(port, seconds=0.5, rate=100.0, patience_seconds=0.1, **plan)
    assert report.published == 50
    assert report.is_intact
