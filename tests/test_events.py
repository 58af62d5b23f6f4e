"""Events, errors and close codes: the facts and how they are shown."""

import json

import pytest

from pubsub import closing
from pubsub.errors import (
    ClosedBy,
    ConnectFailed,
    ConnectionClosed,
    NoPong,
    PeerError,
    PubSubError,
    UnhandledMessageType,
    UpgradeRefused,
    shown,
)
from pubsub.events import Event, EventType

# --- events ---


def test_types_have_the_go_program_s_numbers_and_names() -> None:
    assert {each.label: int(each) for each in EventType} == {
        "PublisherLeft": 1,
        "PublisherJoined": 2,
        "SubscriberLeft": 3,
        "SubscriberJoined": 4,
        "WebsocketUpgradeFailed": 5,
        "BadHTTPHeaders": 6,
    }


def test_an_event_is_one_line_of_json_with_the_go_program_s_keys() -> None:
    line = Event(EventType.SUBSCRIBER_JOINED, "a-1", '/é"\n').to_json()
    assert line.isprintable()
    assert json.loads(line) == {"clientID": "a-1", "subscriptionTopic": '/é"\n', "type": 4}
    assert list(json.loads(line)) == ["clientID", "subscriptionTopic", "type"]


# --- close codes ---


def test_every_code_has_one_row_and_every_label_is_a_metric_s() -> None:
    assert all(code == row.code for code, row in closing.TABLE.items())
    labels = [row.label for row in closing.TABLE.values()]
    assert len(set(labels)) == len(labels)
    assert all(label.isidentifier() and label.islower() for label in labels)


@pytest.mark.parametrize(
    ("code", "come_back"),
    [
        (1000, False),
        (1001, True),
        (1002, False),
        (1006, True),
        (1008, False),
        (1009, False),
        (1011, True),
        (1012, True),
        (1013, True),
        (3000, True),
        (3499, True),
        (3500, False),
        (4000, True),
        (4999, False),
        (2500, False),
        (-1, False),
    ],
)
def test_a_code_says_whether_to_come_back(code: int, come_back: bool) -> None:
    assert closing.closing(code).come_back is come_back
    assert closing.closing(code).code == code
    assert closing.closing(code).reason


def test_codes_that_stand_for_no_close_are_not_sent() -> None:
    assert [code for code in closing.TABLE if not closing.may_be_sent(code)] == [1005, 1006, 1015]


# --- errors ---


@pytest.mark.parametrize(
    ("by", "reason", "says"),
    [
        (ClosedBy.PEER, "too slow", "connection closed by the peer with code 1013 (too slow)"),
        (ClosedBy.PEER, "", "connection closed by the peer with code 1013 (too slow or too full, try again later)"),
        (ClosedBy.US, "", "connection closed by us with code 1013 (too slow or too full, try again later)"),
        (ClosedBy.NETWORK, "", "connection lost with code 1013 (too slow or too full, try again later)"),
    ],
)
def test_a_closed_connection_says_who_closed_it_and_why(by: ClosedBy, reason: str, says: str) -> None:
    error = ConnectionClosed(1013, reason, by=by)
    assert str(error) == says
    assert (error.code, error.reason, error.by, error.come_back) == (1013, reason, by, True)


def test_errors_are_what_else_their_callers_may_expect() -> None:
    assert isinstance(ConnectFailed("x"), OSError)
    assert isinstance(NoPong("x"), TimeoutError)
    assert isinstance(UpgradeRefused(500), PeerError)
    assert UnhandledMessageType("x").code == 1003
    assert all(isinstance(each, PubSubError) for each in (ConnectFailed("x"), NoPong("x"), UpgradeRefused(500)))


def test_a_refused_upgrade_shows_the_first_line_of_its_body() -> None:
    assert str(UpgradeRefused(403, "not you\nmore")) == "the server refused the upgrade with status 403: not you"
    assert str(UpgradeRefused(403)) == "the server refused the upgrade with status 403"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("é\n", "'\\xe9\\n'"),
        (b"\xff", "b'\\xff'"),
        (7, "7"),
        pytest.param(1 << 20_000, "a huge int", id="huge"),
        ("x" * 78, "'" + "x" * 78 + "'"),
        ("x" * 79, "'" + "x" * 76 + "..."),
        ("x" * 10_000_000, "'" + "x" * 76 + "..."),
    ],
)
def test_a_value_is_shown_short_and_in_ascii(value: object, text: str) -> None:
    assert shown(value) == text
    assert len(shown(value)) <= 80
