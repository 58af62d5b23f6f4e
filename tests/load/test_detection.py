"""What a server may do wrong to messages, and that the load says so."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastfan.load import Report
from tests.support.falseserver import Caller, Door, Message, carry_out, false_server, server_frame
from tests.support.rawclient import BINARY, CONTINUATION, PING, TEXT

COUNT = 10

# A load with messages of one size goes a shorter way than one with many; a window has books of its own.
WAYS: dict[str, dict[str, Any]] = {
    "one size": {},
    "many sizes": {"least_bytes": 20, "most_bytes": 300},
    "long": {"least_bytes": 70_000, "most_bytes": 70_000},
    "window": {"window": COUNT},
    "text": {"text": True},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Plans of loads that check frames in different ways."""
    return WAYS[request.param]


def told(send: Callable[[Caller, list[Message]], None], **plan: object) -> Report:
    """The report of one subscriber to whom `send` sends what it makes of ten messages."""

    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        send(subscriber, publisher.read_messages(COUNT))
        subscriber.read_to_end()

    with false_server(script) as port:
        return carry_out(port, messages=COUNT, **plan)


def named(publisher: int, number: int, size: int = 128) -> bytes:
    """A payload with a name as mark.h has it: seven bits a byte."""
    name = publisher << 32 | number
    word = sum((name >> 7 * byte & 127) << 8 * byte for byte in range(8))
    return word.to_bytes(8, "little") + bytes(size - 8)


def assert_malformed(report: Report, fault: str) -> None:
    assert report.malformed == 1
    assert fault in report.fault
    assert not report.is_intact


# -- What is right -------------------------------------------------------------------------------------------------


def test_what_is_passed_on_as_it_came_is_intact(way: dict[str, Any]) -> None:
    report = told(lambda subscriber, messages: subscriber.send(*messages), **way)
    assert report.is_intact
    assert (report.published, report.delivered) == (COUNT, COUNT)
    assert (report.fault, report.close_code) == ("", None)


def test_payload_bytes_are_counted_without_heads() -> None:
    assert told(lambda subscriber, messages: subscriber.send(*messages)).delivered_bytes == COUNT * 128


# -- Lost, doubled, out of order -----------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [0, 5, COUNT - 1])
def test_a_lost_message_is_counted(missing: int, way: dict[str, Any]) -> None:
    def send(subscriber: Caller, messages: list[Message]) -> None:
        subscriber.send(*messages[:missing], *messages[missing + 1 :])
        subscriber.send_close(1001)  # so that nobody waits for it any longer

    report = told(send, **way)
    assert (report.lost, report.duplicated, report.reordered, report.malformed) == (1, 0, 0, 0)
    assert report.delivered == COUNT - 1
    assert not report.is_intact


@pytest.mark.parametrize("again", [0, 5, COUNT - 2])
@pytest.mark.parametrize("behind", [1, 4])
def test_a_doubled_message_is_counted_wherever_it_comes_again(again: int, behind: int, way: dict[str, Any]) -> None:
    def send(subscriber: Caller, messages: list[Message]) -> None:
        doubled = list(messages)
        # Before the last one: with that everything has come, and the load looks no further.
        doubled.insert(min(again + behind, COUNT - 1), messages[again])
        subscriber.send(*doubled)

    report = told(send, **way)
    assert (report.lost, report.reordered, report.malformed) == (0, 0, 0)
    assert report.delivered == COUNT
    assert report.duplicated == 1
    assert not report.is_intact


@pytest.mark.parametrize("first", [0, 5, COUNT - 2])
def test_two_swapped_messages_are_one_out_of_order(first: int, way: dict[str, Any]) -> None:
    def send(subscriber: Caller, messages: list[Message]) -> None:
        messages[first : first + 2] = reversed(messages[first : first + 2])
        subscriber.send(*messages)

    report = told(send, **way)
    assert (report.lost, report.duplicated, report.reordered) == (0, 0, 1)
    assert report.delivered == COUNT
    assert not report.is_intact


def test_all_of_it_backwards_and_then_once_more() -> None:
    def send(subscriber: Caller, messages: list[Message]) -> None:
        subscriber.send(*reversed(messages[1:]), *messages[1:], messages[0])

    report = told(send)
    assert (report.lost, report.duplicated, report.reordered) == (0, COUNT - 1, COUNT - 1)


def test_far_out_of_order_is_told_from_lost_and_doubled() -> None:
    # Farther than the first record of what was seen reaches, so that it has to grow.
    count = 5_000

    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        messages = publisher.read_messages(count)
        subscriber.send(*messages[2:], messages[0], messages[2], messages[-1])
        subscriber.send_close(1001)
        subscriber.read_to_end()

    with false_server(script) as port:
        report = carry_out(port, messages=count, least_bytes=16, most_bytes=16)
    assert (report.lost, report.duplicated, report.reordered) == (1, 2, 1)


def test_messages_too_small_to_be_numbered_are_counted() -> None:
    def lose(subscriber: Caller, messages: list[Message]) -> None:
        subscriber.send(*messages[1:])
        subscriber.send_close(1001)

    def double(subscriber: Caller, messages: list[Message]) -> None:
        subscriber.send(*messages, messages[0])

    assert told(lambda subscriber, messages: subscriber.send(*messages), least_bytes=0, most_bytes=7).is_intact
    assert told(lose, least_bytes=0, most_bytes=7).lost == 1
    assert told(double, least_bytes=7, most_bytes=7).duplicated == 1


# -- What nobody published -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [-1, 1])
def test_a_message_of_the_wrong_size_is_malformed(by: int) -> None:
    def send(subscriber: Caller, messages: list[Message]) -> None:
        payload = messages[0].payload
        subscriber.send(server_frame(payload[:by] if by < 0 else payload + b"x"))

    assert_malformed(told(send), f"a message of a size that nobody published ({128 + by})")
    assert_malformed(told(send, least_bytes=20, most_bytes=10_000), "a message cut or grown")


def test_text_for_binary_is_malformed_and_the_other_way_round() -> None:
    def send(subscriber: Caller, messages: list[Message]) -> None:
        other = BINARY if messages[0].opcode == TEXT else TEXT
        subscriber.send(*messages[:5], server_frame(messages[5].payload, other))

    for text in (False, True):
        report = told(send, text=text)
        assert_malformed(report, "a message of the other type than published")
        assert report.delivered == 5


@pytest.mark.parametrize(("publisher", "number"), [(0, COUNT), (0, 0xFFFFFFFF), (1, 0), (0xFFFFFF, 0)])
def test_a_message_that_nobody_published_is_malformed(publisher: int, number: int, way: dict[str, Any]) -> None:
    def send(subscriber: Caller, messages: list[Message]) -> None:
        payload = named(publisher, number, len(messages[0].payload))
        subscriber.send(messages[0], server_frame(payload, messages[0].opcode))

    report = told(send, **way)
    assert_malformed(report, "a message that nobody published")
    assert report.delivered == 1


def test_a_message_of_another_topic_is_malformed() -> None:
    def script(door: Door) -> None:
        callers = {(caller.is_publisher, caller.target): caller for caller in door.welcome(4)}
        reader, right, wrong = (callers[key] for key in ((False, "/bench/1"), (True, "/bench/1"), (True, "/bench/0")))
        reader.send(right.read_message(), wrong.read_message())
        reader.read_to_end()
        callers[False, "/bench/0"].send_close(1001)

    with false_server(script) as port:
        report = carry_out(port, subscribers=2, publishers=2, topics=2, path="/bench")
    assert_malformed(report, "a message of another topic")
    assert report.delivered == 1


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (server_frame(bytes(128), masked=True), "82fe"),
        (server_frame(bytes(128), fin=False), "027e"),
        (server_frame(bytes(128), CONTINUATION), "807e"),
        (server_frame(bytes(128), rsv=4), "c27e"),
        (server_frame(bytes(128), rsv=1), "927e"),
        (server_frame(b"", PING, fin=False), "0900"),
        (server_frame(b"", PING, rsv=2), "a900"),
        (server_frame(bytes(126), PING), "897e"),
    ],
    ids=["masked", "fragment", "continuation", "RSV1", "RSV3", "part of a ping", "RSV2 on a ping", "ping of 126 bytes"],
)
def test_a_frame_that_no_server_may_send_is_malformed_and_its_first_bytes_are_told(
    bad: bytes, fault: str, way: dict[str, Any]
) -> None:
    report = told(lambda subscriber, messages: subscriber.send(messages[0], bad, *messages[1:]), **way)
    assert_malformed(report, f"({int(fault, 16)})")
    assert report.delivered == 1


def test_only_the_first_fault_is_told_and_all_are_counted() -> None:
    def script(door: Door) -> None:
        first, second, publisher = door.welcome(3)
        messages = publisher.read_messages(COUNT)
        first.send(server_frame(b"", PING, rsv=4))
        first.read_to_end()
        second.send(server_frame(messages[0].payload, TEXT))
        second.read_to_end()

    with false_server(script) as port:
        report = carry_out(port, subscribers=2)
    assert report.malformed == 2
    assert "(51456)" in report.fault


# -- Cut anywhere --------------------------------------------------------------------------------------------------


def pinged(messages: list[Message]) -> Iterator[bytes]:
    for number, message in enumerate(messages):
        yield message.frame
        yield server_frame(bytes([number]) * (number * 125 // COUNT), PING)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 131])
@pytest.mark.parametrize("sizes", [(0, 20), (8, 8), (15, 17), (16, 16), (125, 126), (128, 128)])
def test_messages_and_pings_may_be_cut_anywhere(size: int, sizes: tuple[int, int]) -> None:
    def script(door: Door) -> None:
        subscriber, publisher = door.welcome(2)
        messages = publisher.read_messages(COUNT)
        stream = b"".join(pinged(messages[:-1]))
        subscriber.send_in_pieces(stream, size)
        for number in range(COUNT - 1):
            assert subscriber.read_pong() == bytes([number]) * (number * 125 // COUNT)
        subscriber.send(messages[-1])

    with false_server(script) as port:
        report = carry_out(port, messages=COUNT, least_bytes=sizes[0], most_bytes=sizes[1])
    assert report.is_intact
    assert report.delivered == COUNT


def test_a_message_may_be_cut_behind_each_of_its_bytes() -> None:
    """The first part is read alone: the answer to a ping on the same connection says so."""
    size = 40

    def script(door: Door) -> None:
        subscriber, other, publisher = door.welcome(3)
        messages = publisher.read_messages(size + 2)
        for at, message in enumerate(messages):
            subscriber.send(message.frame[:at])
            # The load reads in turns; two answers of somebody else are one turn at least.
            for _ in range(2):
                other.send(server_frame(b"", PING))
                other.read_pong()
            subscriber.send(message.frame[at:])
        other.send(*messages)

    with false_server(script) as port:
        report = carry_out(port, subscribers=2, messages=size + 2, least_bytes=size, most_bytes=size)
    assert report.is_intact
    assert report.delivered == 2 * (size + 2)
