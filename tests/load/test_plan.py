"""Plans: what may be asked for, and what errors say of the rest."""

import dataclasses
import math
from typing import Any

import pytest

from fastfan.errors import MisuseError
from fastfan.load import Plan


def plan(**asked: Any) -> Plan:
    counted: dict[str, Any] = {} if "messages" in asked or "seconds" in asked else {"messages": 1}
    return Plan(**counted, **asked)


def fault(**asked: Any) -> str:
    with pytest.raises(MisuseError) as raised:
        plan(**asked)
    return str(raised.value)


LIMITS = [
    ("port", 1, 65535, {}),
    ("publishers", 0, 1 << 24, {}),
    ("subscribers", 0, 1 << 24, {}),
    ("topics", 1, 1 << 24, {"publishers": 0}),
    ("least_bytes", 0, 1 << 30, {"most_bytes": 1 << 30}),
    ("most_bytes", 20, 1 << 30, {"least_bytes": 20}),
    ("window", 0, 1 << 20, {}),
    ("connecting", 1, 65535, {}),
    ("visitors", 0, 1000, {}),
    ("slow", 0, 1000, {}),
    ("stalled", 0, 1000, {}),
    ("messages", 1, (1 << 32) - 2, {}),
    ("receive_buffer_bytes", 0, 1 << 30, {}),
]

TIMES_AND_RATES = [
    ("rate", 1e-6, 1e9),
    ("seconds", 0.001, 1e6),
    ("stay_seconds", 0.001, 1e6),
    ("slow_bytes_per_second", 1.0, 1e12),
    ("ramp_up_seconds", 0.0, 1e6),
    ("patience_seconds", 0.01, 1e6),
]


@pytest.mark.parametrize(("name", "least", "most", "others"), LIMITS, ids=[limit[0] for limit in LIMITS])
def test_a_number_may_be_at_its_limits_and_not_beyond(name: str, least: int, most: int, others: dict[str, Any]) -> None:
    for value in (least, most):
        assert getattr(plan(**{name: value}, **others), name) == value
    for value in (least - 1, most + 1):
        assert fault(**{name: value}, **others) == f"{name}={value} is not within {least} and {most}"


@pytest.mark.parametrize(("name", "least", "most"), TIMES_AND_RATES, ids=[limit[0] for limit in TIMES_AND_RATES])
def test_a_time_or_a_rate_may_be_at_its_limits_and_not_beyond(name: str, least: float, most: float) -> None:
    for value in (least, most):
        assert getattr(plan(**{name: value}), name) == value
    for value in (math.nextafter(least, -1), math.nextafter(most, math.inf), math.inf, -math.inf, math.nan):
        assert f"{name}={value} is not within" in fault(**{name: value})


def test_a_rate_of_0_is_none() -> None:
    assert plan(rate=0).rate == 0
    assert "rate=-1" in fault(rate=-1)


def test_a_rate_and_its_seconds_make_no_more_messages_than_can_be_numbered() -> None:
    assert plan(rate=4000.0, seconds=1e6).rate == 4000.0
    assert "rate * seconds=1000000000000000.0 is not within" in fault(rate=1e9, seconds=1e6)


def test_the_kinds_of_subscribers_are_parts_of_all() -> None:
    assert plan(subscribers=6, visitors=1, slow=2, stalled=3).steady == 0
    text = fault(subscribers=6, visitors=2, slow=2, stalled=3)
    assert text.startswith("visitors=2, slow=2 and stalled=3 are more than subscribers=6;")


def test_no_topic_goes_without_a_publisher() -> None:
    assert plan(topics=3, publishers=3).topics == 3
    assert plan(topics=3, publishers=0).topics == 3
    assert fault(topics=3, publishers=2).startswith("topics=3 is over publishers=2")


def test_one_of_messages_and_seconds_ends_a_load() -> None:
    for asked in ({"messages": None}, {"messages": 1, "seconds": 1.0}):
        assert fault(**asked).endswith("give one of the two")


def test_a_load_has_one_pace() -> None:
    assert fault(rate=5.0, window=3).startswith("rate=5 and window=3:")


def test_a_window_needs_somebody_who_reads_everything_on_each_topic() -> None:
    assert plan(window=1, subscribers=4, stalled=1, slow=1, publishers=2, topics=2).steady == 2
    text = fault(window=1, subscribers=4, stalled=2, slow=1, publishers=2, topics=2)
    assert text.startswith("window=1 needs a subscriber on each topic") and "there are 1 for 2" in text


def test_a_window_needs_messages_that_can_be_told_apart() -> None:
    assert plan(window=1, least_bytes=8).window == 1
    text = fault(window=1, least_bytes=7)
    assert text.startswith("least_bytes=7 is too small for a window") and "8 bytes" in text


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1.", "127.1", "[::1]", "256.0.0.1", "1.2.3.4 "])
def test_a_host_is_an_address_in_digits(host: str) -> None:
    assert fault(host=host) == f"host={host!r} is no IP address; look the name up first"


def test_a_host_of_one_interface_is_refused_before_a_load_is_made() -> None:
    assert plan(host="fe80::1").host == "fe80::1"
    assert fault(host="fe80::1%lo").startswith("host='fe80::1%lo' names an interface")


@pytest.mark.parametrize(
    "asked",
    [
        {"path": ""},
        {"path": "bench"},
        {"path": "/a b"},
        {"path": "/a\r\nX: y"},
        {"path": "/grün"},
        {"query": "a=b"},
        {"query": "?a b"},
        {"query": "?a\x00b"},
        {"headers": (("X", "a\r\nY: b"),)},
        {"headers": (("X\n", "a"),)},
        {"headers": (("X", "grün"),)},
    ],
    ids=repr,
)
def test_what_would_break_a_request_is_refused(asked: dict[str, Any]) -> None:
    assert fault(**asked).endswith("cannot stand in a request; escape it, as URLs have it")


def test_a_plan_is_a_value() -> None:
    first = plan(subscribers=3)
    assert first == plan(subscribers=3) and hash(first) == hash(plan(subscribers=3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.port = 1  # type: ignore[misc]
    with pytest.raises(MisuseError, match="port=0"):
        dataclasses.replace(first, port=0)
