"""The gate by itself, with a clock that is told the time: connections, addresses, upgrades, new topics."""

from typing import Any

import pytest

from pubsub.gate import Gate, address_of
from pubsub.options import Options

HERE, THERE = "192.0.2.1", "198.51.100.7"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def gate_of(**options: Any) -> tuple[Gate, Clock]:
    clock = Clock()
    return Gate(Options(**options), clock=clock), clock


def test_exactly_max_connections_come_in_and_one_more_when_one_has_left() -> None:
    gate, _ = gate_of(max_connections=2)
    assert [gate.enter(None), gate.enter(None)] == [None, None]
    refusal = gate.enter(None)
    assert refusal is not None and (refusal.status, refusal.limit) == (503, "max_connections")
    assert refusal.body.startswith("2 connections are open, which is max_connections") and "--max-conn" in refusal.body
    assert (b"Retry-After", b"1") in refusal.headers
    assert gate.connections == 2
    gate.leave(None)
    assert gate.enter(None) is None


def test_an_address_has_its_own_number_and_this_machine_has_none() -> None:
    gate, _ = gate_of(max_connections_per_address=1)
    assert gate.enter(HERE) is None
    refusal = gate.enter(HERE)
    assert refusal is not None and (refusal.status, refusal.limit) == (429, "max_connections_per_address")
    assert HERE in refusal.body
    assert [gate.enter(THERE), *(gate.enter(None) for _ in range(5))] == [None] * 6
    gate.leave(HERE)
    assert gate.enter(HERE) is None
    assert gate.connections == 7


def test_who_was_turned_away_in_all_does_not_count_for_its_address() -> None:
    gate, _ = gate_of(max_connections=1, max_connections_per_address=1)
    assert gate.enter(THERE) is None
    assert gate.enter(HERE) is not None
    gate.leave(THERE)
    assert gate.enter(HERE) is None


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:1:2::1%eth0", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", "fe80::1"),
        ("64:ff9b::c000:201", "192.0.2.1"),
        ("127.0.0.1", None),
        ("127.8.8.8", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("", None),
        ("/run/socket", None),
        (None, None),
    ],
)
def test_an_address_is_an_ipv4_one_or_a_network_of_ipv6(host: object, address: str | None) -> None:
    assert address_of(host) == address


def test_so_many_upgrades_are_granted_in_a_second_and_more_as_time_goes_by() -> None:
    gate, clock = gate_of(max_upgrades_per_second=10)

    def granted() -> int:
        return sum(gate.may_upgrade() is None for _ in range(30))

    assert granted() == 10
    refusal = gate.may_upgrade()
    assert refusal is not None and (refusal.status, refusal.limit) == (503, "max_upgrades_per_second")
    clock.now += 0.5
    assert granted() == 5
    clock.now += 3600.0
    assert granted() == 10


def test_one_upgrade_a_second_is_one_a_second() -> None:
    gate, clock = gate_of(max_upgrades_per_second=1)
    granted = []
    for _ in range(40):
        granted.append(gate.may_upgrade() is None)
        clock.now += 0.25
    assert granted == [True, False, False, False] * 10


def test_an_address_makes_so_many_topics_in_a_minute() -> None:
    gate, clock = gate_of(max_new_topics_per_address=2)
    assert [gate.may_make_topic(HERE), gate.may_make_topic(HERE)] == [None, None]
    refusal = gate.may_make_topic(HERE)
    assert refusal is not None and (refusal.status, refusal.limit) == (429, "max_new_topics_per_address")
    assert (b"Retry-After", b"60") in refusal.headers
    assert [gate.may_make_topic(THERE), *(gate.may_make_topic(None) for _ in range(5))] == [None] * 6
    clock.now += 59.9
    assert gate.may_make_topic(HERE) is not None
    clock.now += 0.1
    assert gate.may_make_topic(HERE) is None


def test_without_limits_everybody_may() -> None:
    gate, _ = gate_of(max_topics=None)
    assert not gate.watches_addresses
    assert all(gate.enter(HERE) is None and gate.may_upgrade() is None for _ in range(1000))
    assert gate.may_make_topic(HERE) is None
    assert gate.connections == 1000
