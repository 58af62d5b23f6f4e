"""When to come back, when to give up, and how long to wait: without a clock."""

import random
import ssl
from typing import Any

import pytest

from pubsub import (
    ClosedBy,
    ConnectFailed,
    ConnectionClosed,
    Gap,
    MisuseError,
    NoPong,
    PeerError,
    Publisher,
    PubSubError,
    Reconnect,
    Subscriber,
    UnhandledMessageType,
    UpgradeRefused,
)
from pubsub.gap import Place, missed_between, place_named
from pubsub.reconnect import Backoff, comes_back, retry_after

# --- limits ---


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"first_delay": 0}, "first_delay=0 is below"),
        ({"first_delay": "soon"}, "first_delay='soon'"),
        ({"max_delay": float("nan")}, "max_delay=nan"),
        ({"first_delay": 5, "max_delay": 1}, "max_delay=1 is below first_delay=5; raise it"),
        ({"attempts": 0}, "attempts=0 is no number from 1"),
        ({"attempts": True}, "attempts=True"),
        ({"attempts": 1.5}, "attempts=1.5"),
        ({"give_up_after": -1}, "give_up_after=-1 is below"),
        ({"steady_after": -1}, "steady_after=-1 is below 0"),
    ],
)
def test_bad_limits_are_the_caller_s_mistake(limits: dict[str, Any], says: str) -> None:
    with pytest.raises(MisuseError, match=says):
        Reconnect(**limits)


def test_limits_cannot_be_changed_afterwards() -> None:
    with pytest.raises(AttributeError):
        Reconnect().attempts = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"reconnect": 3}, r"reconnect=3 is neither .* Reconnect\(\.\.\.\)"),
        ({"reconnect": None}, "reconnect=None"),
        ({"reconnect": True, "on_gap": "print"}, "on_gap='print' cannot be called"),
        ({"reconnect": True, "on_away": 1}, "on_away=1 cannot be called"),
        ({"on_gap": print}, "give reconnect=True as well"),
        ({"on_away": print}, "give reconnect=True as well"),
    ],
)
@pytest.mark.parametrize("client", [Publisher, Subscriber])
def test_bad_arguments_are_the_caller_s_mistake(client: Any, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(MisuseError, match=says):
        client("ws://a.example/", **arguments)


# --- delays ---


def delays(backoff: Backoff, count: int, **arguments: float) -> list[float | None]:
    return [backoff.next_delay(0.0, **arguments) for _ in range(count)]


def test_the_bound_of_the_delays_doubles_up_to_the_most() -> None:
    backoff = Backoff(Reconnect(first_delay=0.5, max_delay=5.0), draw=lambda: 1.0)
    backoff.on_lost(0.0)
    assert delays(backoff, 6) == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_the_whole_delay_is_random() -> None:
    draws = iter([0.0, 0.25, 0.5, 0.75])
    backoff = Backoff(Reconnect(first_delay=1.0, max_delay=100.0), draw=lambda: next(draws))
    backoff.on_lost(0.0)
    assert delays(backoff, 4) == [0.0, 0.5, 2.0, 6.0]


def test_delays_of_the_own_source_spread_over_their_range() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    firsts: list[float] = []
    for _ in range(1000):
        backoff = Backoff(Reconnect(first_delay=1.0), draw=random.Random(seed + len(firsts)).random)
        backoff.on_lost(0.0)
        firsts.append(backoff.next_delay(0.0) or 0.0)
    assert 0.0 <= min(firsts) < 0.1
    assert 0.9 < max(firsts) < 1.0


def test_many_failures_do_not_overflow() -> None:
    backoff = Backoff(Reconnect(first_delay=0.5, max_delay=30.0), draw=lambda: 1.0)
    backoff.on_lost(0.0)
    assert delays(backoff, 5000)[-1] == 30.0


def test_what_the_server_asks_for_is_the_least_and_the_random_part_comes_on_top() -> None:
    backoff = Backoff(Reconnect(first_delay=0.5, max_delay=10.0), draw=lambda: 0.5)
    backoff.on_lost(0.0)
    assert backoff.next_delay(0.0, at_least=3.0) == 3.25
    assert backoff.next_delay(0.0, at_least=7200.0) == 10.5


def test_it_gives_up_after_so_many_attempts_in_a_row() -> None:
    backoff = Backoff(Reconnect(attempts=2), draw=lambda: 1.0)
    backoff.on_lost(0.0)
    assert delays(backoff, 3) == [0.5, 1.0, None]


def test_the_last_attempt_is_at_the_deadline_and_none_is_later() -> None:
    backoff = Backoff(Reconnect(first_delay=4.0, give_up_after=10.0), draw=lambda: 1.0)
    backoff.on_lost(100.0)
    assert backoff.next_delay(100.0) == 4.0
    assert backoff.next_delay(104.0) == 6.0
    assert backoff.next_delay(110.0) is None


def test_it_gives_up_when_the_server_asks_for_longer_than_it_has() -> None:
    backoff = Backoff(Reconnect(give_up_after=5.0), draw=lambda: 0.0)
    backoff.on_lost(0.0)
    assert backoff.next_delay(1.0, at_least=4.0) is None


def test_connections_that_do_not_last_are_attempts_of_the_same_row() -> None:
    backoff = Backoff(Reconnect(first_delay=1.0, attempts=3, steady_after=10.0), draw=lambda: 1.0)
    backoff.on_open(0.0)
    seen = []
    for now in (9.0, 18.0, 27.0, 36.0):
        backoff.on_lost(now)
        seen.append(backoff.next_delay(now))
        backoff.on_open(now)
    assert seen == [1.0, 2.0, 4.0, None]


def test_a_connection_that_lasts_ends_the_row() -> None:
    backoff = Backoff(Reconnect(first_delay=1.0, give_up_after=20.0, steady_after=10.0), draw=lambda: 1.0)
    backoff.on_open(0.0)
    backoff.on_lost(5.0)
    assert delays(backoff, 2) == [1.0, 2.0]
    backoff.on_open(10.0)
    backoff.on_lost(20.0)
    assert backoff.next_delay(20.0) == 1.0
    # The twenty seconds count from here, too.
    assert backoff.next_delay(30.0) == 2.0


# --- which errors ---


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *((code, True) for code in (1001, 1006, 1011, 1012, 1013, 3000, 3499, 4000, 4499)),
        *((code, False) for code in (1000, 1002, 1003, 1005, 1007, 1008, 1009, 1010, 1015, 2000, 3500, 4999)),
    ],
)
def test_close_codes_say_whether_to_come_back(code: int, expected: bool) -> None:
    assert comes_back(ConnectionClosed(code, by=ClosedBy.PEER)) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, True) for status in (408, 429, 500, 502, 503, 504)),
        *((status, False) for status in (200, 301, 400, 401, 403, 404, 426, 431, 501)),
    ],
)
def test_statuses_say_whether_to_come_back(status: int, expected: bool) -> None:
    assert comes_back(UpgradeRefused(status)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectFailed("nobody there"), True),
        (PeerError("nonsense"), False),
        (UnhandledMessageType("text"), False),
        (NoPong("nothing"), False),
        (MisuseError("oh"), False),
    ],
)
def test_only_what_passes_is_tried_again(error: PubSubError, expected: bool) -> None:
    assert comes_back(error) is expected


@pytest.mark.parametrize(
    ("status", "value", "expected"),
    [
        (503, "7", 7.0),
        (429, " 120 ", 120.0),
        (503, "9" * 5000, 999999999.0),
        (503, "Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        (503, "-1", 0.0),
        (503, "1.5", 0.0),
        (503, "²", 0.0),
        (503, "", 0.0),
        (500, "7", 0.0),
    ],
)
def test_retry_after_is_read_in_seconds_of_two_statuses(status: int, value: str, expected: float) -> None:
    assert retry_after(UpgradeRefused(status, headers=[("retry-after", value)])) == expected


def test_other_errors_ask_for_nothing() -> None:
    assert retry_after(UpgradeRefused(503)) == 0.0
    assert retry_after(ConnectFailed("nobody there")) == 0.0


# --- counting ---


@pytest.mark.parametrize(
    ("began", "received", "now", "expected"),
    [
        (Place("e", 7), 3, Place("e", 14), 4),
        (Place("e", 7), 3, Place("e", 10), 0),
        (Place("e", 1), 0, Place("e", 1), 0),
        (Place("e", 7), 3, Place("f", 14), None),
        (Place("e", 7), 3, Place("e", 9), None),
        (None, 3, Place("e", 14), None),
        (Place("e", 7), 3, None, None),
    ],
)
def test_what_was_missed_is_counted_from_offsets(
    began: Place | None, received: int, now: Place | None, expected: int | None
) -> None:
    assert missed_between(began, received, now) == expected


@pytest.mark.parametrize(
    ("epoch", "offset", "expected"),
    [
        ("9223372036854775807", "12", Place("9223372036854775807", 12)),
        ("5", "", None),
        ("", "12", None),
        ("5", "-1", None),
        ("5", "twelve", None),
        ("5", "9" * 5000, None),
    ],
)
def test_a_place_is_read_from_the_headers_of_a_101(epoch: str, offset: str, expected: Place | None) -> None:
    assert place_named([("pubsub-epoch", epoch), ("pubsub-offset", offset)]) == expected


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ({"missed": 0}, "nothing is missing"),
        ({"missed": 1}, "1 message missed"),
        ({"missed": None}, "nobody knows how many"),
        ({"unconfirmed": 3}, "3 messages unconfirmed"),
    ],
)
def test_a_gap_can_be_read(loss: dict[str, int | None], says: str) -> None:
    gap = Gap(ConnectionClosed(1012, by=ClosedBy.PEER), 1.25, **loss)  # type: ignore[arg-type]
    assert says in str(gap)
    assert "1.2 s" in str(gap) and "1012" in str(gap)
    with pytest.raises(AttributeError):
        gap.missed = 1  # type: ignore[misc]


def test_a_certificate_that_does_not_verify_is_final() -> None:
    failed = ConnectFailed("cannot connect")
    failed.__cause__ = ssl.SSLCertVerificationError("self-signed")
    assert not comes_back(failed)
