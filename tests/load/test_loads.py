"""Loads of every kind against the real server: everything arrives, once, in order, and the counts say what was done."""

import os
import resource
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from fastfan.load import Load, LoadError, Report, Step
from tests.support.falseserver import UPGRADED, Door, carry_out, false_server, small_plan
from tests.support.server import ServerProcess, server_process


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with server_process() as process:
        yield process


def assert_intact(report: Report, *, messages: int, each_to: int) -> None:
    assert report.is_intact, report
    assert (report.published, report.delivered) == (messages, messages * each_to)
    assert (report.malformed, report.departed, report.failed_visits) == (0, 0, 0)


# -- Messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "most"),
    [(0, 0), (0, 20), (7, 7), (8, 8), (15, 15), (16, 16), (125, 126), (65_535, 65_536), (70_000, 70_000), (0, 200_000)],
)
def test_messages_of_every_size_arrive(server: ServerProcess, least: int, most: int) -> None:
    report = carry_out(server.port, subscribers=3, messages=50, least_bytes=least, most_bytes=most)
    assert_intact(report, messages=50, each_to=3)
    assert 3 * 50 * least <= report.delivered_bytes <= 3 * 50 * most


def test_messages_over_a_mebibyte_arrive(server: ServerProcess) -> None:
    size = (1 << 20) + 1
    report = carry_out(server.port, subscribers=2, messages=5, least_bytes=size, most_bytes=size)
    assert_intact(report, messages=5, each_to=2)
    assert report.delivered_bytes == 10 * size


def test_text_arrives_as_text(server: ServerProcess) -> None:
    # A server must close whoever sends text that is no UTF-8 (RFC 6455 section 8.1).
    for sizes in ((128, 128), (0, 300), (100_000, 100_000)):
        report = carry_out(server.port, text=True, least_bytes=sizes[0], most_bytes=sizes[1], messages=20)
        assert_intact(report, messages=20, each_to=1)


@pytest.mark.parametrize("pace", [{"messages": 40}, {"messages": 40, "window": 3}, {"messages": 40, "rate": 4000.0}])
@pytest.mark.parametrize("sizes", [(128, 128), (16, 300)])
def test_topics_with_several_publishers_do_not_mix(
    server: ServerProcess, pace: dict[str, Any], sizes: tuple[int, int]
) -> None:
    report = carry_out(
        server.port, subscribers=9, publishers=7, topics=3, least_bytes=sizes[0], most_bytes=sizes[1], **pace
    )
    assert_intact(report, messages=7 * 40, each_to=3)


def test_a_load_may_have_only_subscribers_only_publishers_or_nobody(server: ServerProcess) -> None:
    assert_intact(carry_out(server.port, subscribers=5, publishers=0), messages=0, each_to=0)
    assert_intact(carry_out(server.port, subscribers=0, publishers=2), messages=20, each_to=0)
    assert_intact(carry_out(server.port, subscribers=0, publishers=0), messages=0, each_to=0)


# -- Paces ---------------------------------------------------------------------------------------------------------


def test_unthrottled_messages_go_on_until_their_time_is_over(server: ServerProcess) -> None:
    report = carry_out(server.port, subscribers=2, seconds=0.1)
    assert report.is_intact and report.published > 10
    assert report.latency.count == report.everybody.count == 0


@pytest.mark.parametrize(
    ("rate", "seconds", "publishers", "count"),
    [(1000.0, 0.1, 1, 100), (1000.0, 0.1, 7, 100), (500.0, 0.058, 3, 29), (10.0, 0.05, 1, 1), (20_000.0, 0.2, 2, 4000)],
)
def test_a_rate_and_seconds_make_as_many_messages_as_they_say(
    server: ServerProcess, rate: float, seconds: float, publishers: int, count: int
) -> None:
    report = carry_out(server.port, subscribers=2, rate=rate, seconds=seconds, publishers=publishers)
    assert_intact(report, messages=count, each_to=2)
    assert report.latency.count == 2 * count


def test_a_rate_with_messages_has_that_many_of_each_publisher(server: ServerProcess) -> None:
    assert_intact(carry_out(server.port, rate=5000.0, messages=30, publishers=3), messages=90, each_to=1)


def test_latencies_are_of_every_delivery_and_of_every_message_to_the_last(server: ServerProcess) -> None:
    report = carry_out(server.port, subscribers=4, messages=50, window=5)
    assert_intact(report, messages=50, each_to=4)
    assert (report.latency.count, report.everybody.count) == (200, 50)
    for times in (report.latency, report.everybody):
        assert 0 < times.p50_ns <= times.p90_ns <= times.p99_ns <= times.p999_ns <= times.max_ns < 60e9
    # The last to get a message gets it no earlier than the others.
    assert report.everybody.max_ns >= report.latency.max_ns * 0.99


def test_messages_too_short_for_a_time_have_no_latency(server: ServerProcess) -> None:
    report = carry_out(server.port, messages=50, window=5, least_bytes=15, most_bytes=300)
    assert_intact(report, messages=50, each_to=1)
    assert report.latency.count == 0


@pytest.mark.parametrize("window", [1, 3])
def test_no_more_messages_are_on_the_way_than_the_window(window: int) -> None:
    count = 4 * window

    def script(door: Door) -> None:
        *subscribers, publisher = door.welcome(3)
        publisher.sock.settimeout(0.02)
        for _ in range(0, count, window):
            messages = publisher.read_messages(window)
            for waiting, subscriber in enumerate(subscribers[::-1], 1):
                # One of the two has not everything: nothing more may come.
                with pytest.raises(TimeoutError):
                    publisher.read_frame()
                subscriber.send(*messages[: -1 if waiting == 2 and window > 1 else None])
            if window > 1:
                subscribers[0].send(messages[-1])

    with false_server(script) as port:
        report = carry_out(port, subscribers=2, messages=count, window=window)
    assert_intact(report, messages=count, each_to=2)
    assert report.everybody.count == count


# -- Subscribers of other kinds ------------------------------------------------------------------------------------


def test_visitors_come_and_go_and_lose_nothing_while_they_are_here(server: ServerProcess) -> None:
    report = carry_out(
        server.port, subscribers=12, visitors=8, topics=2, publishers=2, rate=500.0, seconds=2.0, stay_seconds=0.05
    )
    assert report.is_intact, report
    assert report.published == 1000
    assert report.visits >= 8 and report.failed_visits == 0
    assert report.delivered > 4 * 500  # the steady ones have all, the visitors a part


def test_visitors_are_served_in_an_unthrottled_load_too(server: ServerProcess) -> None:
    report = carry_out(server.port, subscribers=6, visitors=5, seconds=0.3, stay_seconds=0.02)
    assert report.is_intact, report
    assert report.visits >= 5


def test_a_visitor_whom_the_server_sends_away_is_a_failed_visit_and_tries_again() -> None:
    def script(door: Door) -> None:
        visitor, publisher = door.welcome(2)
        publisher.read_message()
        visitor.send_close(1013)
        visitor = door.accept()  # it came back, and is refused
        visitor.send(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        door.accept().close()
        last = door.accept()
        last.send(b"HTTP/1.1 101")
        last.read_to_end()

    with false_server(script) as port:
        report = carry_out(port, visitors=1, rate=100.0, seconds=0.5, stay_seconds=0.05)
    assert (report.visits, report.failed_visits) == (3, 3)
    assert report.departed == 0


def test_slow_readers_get_their_share_and_hold_up_nobody(server: ServerProcess) -> None:
    report = carry_out(server.port, subscribers=4, slow=2, slow_bytes_per_second=20_000.0, rate=500.0, seconds=0.4)
    assert report.is_intact
    assert (report.published, report.delivered) == (200, 400)
    assert 0 < report.slow_received < 400
    assert (report.slow_missed, report.slow_departed) == (0, 0)


def test_a_slow_reader_takes_frames_cut_anywhere(server: ServerProcess) -> None:
    # 300 bytes a second are read three or four at a time.
    report = carry_out(
        server.port,
        subscribers=2,
        slow=1,
        slow_bytes_per_second=300.0,
        rate=400.0,
        seconds=0.4,
        least_bytes=16,
        most_bytes=20,
    )
    assert report.is_intact and report.malformed == 0
    assert 0 < report.slow_received < 160


def test_the_stalled_are_drained_at_the_end_and_hold_up_nobody(server: ServerProcess) -> None:
    report = carry_out(server.port, subscribers=5, stalled=2, messages=100)
    assert_intact(report, messages=100, each_to=3)
    assert (report.stalled_received, report.stalled_departed) == (200, 0)


def test_a_small_receive_buffer_makes_the_stalled_fall_behind() -> None:
    # With the kernel's own buffers several MiB would have to be sent for this.
    with server_process(subscriber_write_timeout="0.2s") as server:
        report = carry_out(
            server.port,
            subscribers=3,
            stalled=1,
            receive_buffer_bytes=4096,
            rate=200.0,
            seconds=1.0,
            least_bytes=60_000,
            most_bytes=60_000,
        )
    assert report.is_intact
    assert report.stalled_departed == 1
    assert report.delivered == 2 * report.published == 400


# -- Connecting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connecting", [1, 7, 65535])
def test_any_number_of_upgrades_may_be_under_way(server: ServerProcess, connecting: int) -> None:
    report = carry_out(server.port, subscribers=50, connecting=connecting, messages=3)
    assert_intact(report, messages=3, each_to=50)
    assert report.upgrade.count == report.connections == 51
    assert report.connect_seconds > 0 and report.upgrades_per_second > 0


def test_no_more_upgrades_are_under_way_than_asked_for() -> None:
    def script(door: Door) -> None:
        for _ in range(3):
            callers = [door.accept(), door.accept()]
            with pytest.raises(TimeoutError):
                door.accept(0.02)
            for caller in callers:
                caller.send(UPGRADED)

    with false_server(script) as port, Load(small_plan(port, subscribers=6, publishers=0, connecting=2)) as load:
        load.connect()


def test_connections_are_begun_over_the_ramp_up(server: ServerProcess) -> None:
    report = carry_out(server.port, subscribers=20, ramp_up_seconds=0.2, messages=1)
    assert_intact(report, messages=1, each_to=20)
    assert report.connect_seconds >= 0.19  # the last is begun after 20/21 of it


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_ipv6_is_spoken_too() -> None:
    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        assert f"\r\nHost: [::1]:{door.port}\r\n".encode() in subscriber.head
        subscriber.send(*publisher.read_messages(10))

    with false_server(script, host="::1") as port:
        assert_intact(carry_out(port, host="::1"), messages=10, each_to=1)


def test_a_topic_is_the_path_and_a_query_is_none_of_it(server: ServerProcess) -> None:
    for path, query in (("/", ""), ("/a/b", "?c=d"), ("/%C3%A9", "?")):
        assert_intact(carry_out(server.port, path=path, query=query), messages=10, each_to=1)


def test_out_of_descriptors_is_said(server: ServerProcess) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) - 1
    load = Load(small_plan(server.port, subscribers=20))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 10, hard))
    try:
        with load, pytest.raises(LoadError, match="no socket: Too many open files"):
            load.connect()
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
        with pytest.raises(OSError, match="Too many open files"):
            Load(small_plan(server.port))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- The report ----------------------------------------------------------------------------------------------------


def test_the_report_follows_the_steps(server: ServerProcess) -> None:
    with Load(small_plan(server.port, subscribers=3)) as load:
        new = load.report()
        assert (new.step, new.connections, new.is_intact) == (Step.NEW, 0, True)
        load.connect()
        connected = load.report()
        assert (connected.step, connected.connections, connected.published) == (Step.CONNECTING, 4, 0)
        load.rest(0)
        assert load.report().step is Step.RESTING
        load.publish()
        published = load.report()
        assert (published.step, published.connections, published.published) == (Step.PUBLISHING, 4, 10)
        assert 0 < published.publish_seconds <= published.publish_wall_seconds
        assert 0 < published.busy <= 1.0 and published.deliveries_per_second > 0
    closed = load.report()
    assert closed.step is Step.CLOSED
    assert closed.delivered == 30


def emptied(server: ServerProcess) -> dict[str, Any]:
    """Its stats when nobody is there any more. They have no event to wait for; each question is a turn of its own."""
    while (stats := server.stats())["subscribers"] or stats["publishers"]:
        pass
    return stats


def test_close_tells_the_server(server: ServerProcess) -> None:
    before = emptied(server)["departures"]
    with Load(small_plan(server.port, subscribers=3)) as load:
        load.connect()
        assert server.stats()["subscribers"] == 3
    after = emptied(server)["departures"]
    assert after == before | {"closed": before.get("closed", 0) + 4}
