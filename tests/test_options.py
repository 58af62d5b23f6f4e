"""Options: what may be set, and the line that says what to mend."""

import dataclasses
import math
from typing import Any

import pytest

from pubsub.errors import ConfigError
from pubsub.options import Options
from pubsub.units import parse_duration, parse_size

# More than a float holds, and more than Python writes.
HUGE = pytest.param(1 << 20_000, id="huge")
MINUS_HUGE = pytest.param(-(1 << 20_000), id="minus huge")
DURATIONS = [
    "ping_interval",
    "pong_deadline",
    "close_deadline",
    "handshake_deadline",
    "subscriber_write_timeout",
    "message_timeout",
    "max_lag_age",
    "topic_linger",
]
MAY_BE_OFF = [
    *("max_lag_messages", "max_lag_age", "max_connections", "max_connections_per_address", "max_upgrades_per_second"),
    *("max_fragments", "max_control_frames", "max_ignored_bytes", "max_topics", "max_new_topics_per_address"),
]
COUNTS = [
    "max_message_bytes",
    "max_lag_bytes",
    "max_lag_messages",
    "pace_lag_bytes",
    "max_memory_bytes",
    "event_buffer",
    "max_lingering_topics",
    "max_head_bytes",
    "max_connections",
    "max_connections_per_address",
    "max_upgrades_per_second",
    "max_fragments",
    "max_control_frames",
    "max_ignored_bytes",
    "max_topics",
    "max_topic_bytes",
    "max_new_topics_per_address",
]


def test_every_option_is_tested_here() -> None:
    names = {field.name for field in dataclasses.fields(Options)}
    # `overflow` has a file of its own: test_overflow.py.
    assert names == {*DURATIONS, *COUNTS, "allow_origins", "allow_hosts", "lane", "io_threads", "overflow"}


@pytest.mark.parametrize(("given", "lane"), [(True, True), (False, False), ("off", False), ("Yes", True)])
def test_a_switch_is_on_or_off(given: object, lane: bool) -> None:
    assert Options.from_mapping({"lane": given}).lane is lane


@pytest.mark.parametrize("given", [1, "", "maybe", None])
def test_a_switch_is_nothing_else(given: object) -> None:
    with pytest.raises(ConfigError, match=r"lane=.* is neither on nor off"):
        Options.from_mapping({"lane": given})


def test_the_defaults_are_the_documented_ones() -> None:
    options = Options()
    assert (options.ping_interval, options.pong_deadline, options.close_deadline) == (20, 10, 5)
    assert (options.handshake_deadline, options.subscriber_write_timeout, options.message_timeout) == (5, 10, 30)
    assert (options.max_message_bytes, options.max_lag_bytes, options.pace_lag_bytes) == (1 << 24, 1 << 26, 1 << 22)
    assert (options.max_lag_messages, options.max_lag_age, options.max_memory_bytes) == (None, None, None)
    assert (options.event_buffer, options.topic_linger, options.max_lingering_topics) == (1024, 300, 10_000)
    assert (options.allow_origins, options.max_head_bytes, options.lane) == ((), 16384, True)
    assert (options.io_threads, options.overflow, options.allow_hosts) == (1, (), ())


@pytest.mark.parametrize("name", MAY_BE_OFF)
def test_a_limit_that_there_need_not_be_is_off_by_that_word(name: str) -> None:
    assert getattr(Options.from_mapping({name: "off"}), name) is None
    assert getattr(Options.from_mapping({name: None}), name) is None


def test_the_limits_of_clients_and_topics_have_the_documented_defaults() -> None:
    options = Options()
    assert (options.max_connections, options.max_connections_per_address) == (None, None)
    assert (options.max_upgrades_per_second, options.max_new_topics_per_address) == (None, None)
    assert (options.max_fragments, options.max_control_frames) == (131_072, 10_000)
    assert (options.max_ignored_bytes, options.max_topics, options.max_topic_bytes) == (1 << 20, 100_000, 1024)


@pytest.mark.parametrize("given", [0, 1, 16, "2"])
def test_there_are_from_none_to_sixteen_threads(given: object) -> None:
    assert Options.from_mapping({"io_threads": given}).io_threads == int(str(given))


@pytest.mark.parametrize(("given", "complaint"), [(-1, "below 0"), (17, "over 16"), (1.5, "no whole number")])
def test_no_other_number_of_threads_is_taken(given: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"io_threads=.* {complaint}"):
        Options.from_mapping({"io_threads": given})


@pytest.mark.parametrize("name", [name for name in COUNTS if not name.endswith("_bytes")])
def test_what_is_no_number_is_not_asked_to_be_a_size(name: str) -> None:
    for text, complaint in (("two", "'two' is no whole number"), ("-1", "-1 is below"), ("", "'' is no whole number")):
        with pytest.raises(ConfigError, match=f"{name}={complaint}") as caught:
            Options.from_mapping({name: text})
        assert "MiB" not in str(caught.value)


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf, True, b"1", [1], 1e300, HUGE, MINUS_HUGE])
def test_a_duration_out_of_range_is_refused_with_value_limit_and_cure(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{name}=.*; give a duration such as [0-9]+"):
        Options(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [-1, 1.5, True, math.nan, b"1", [1], 1 << 63, MINUS_HUGE, "5s"])
def test_a_size_out_of_range_is_refused_with_value_limit_and_cure(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{name}=.*; give (a number|one) such as [0-9]+"):
        Options(**{name: value})  # type: ignore[arg-type]


def test_the_text_of_an_error_names_value_limit_and_cure() -> None:
    with pytest.raises(ConfigError) as caught:
        Options(ping_interval=-1)
    assert str(caught.value) == "ping_interval=-1 is below 0.01 s; give a duration such as 20"


@pytest.mark.parametrize("name", DURATIONS[:6])
def test_a_duration_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"below 0\.01 s"):
        Options(**{name: 0})  # type: ignore[arg-type]


def test_what_may_be_nothing_may_be_nothing() -> None:
    options = Options(topic_linger=0, max_lingering_topics=0)
    assert (options.topic_linger, options.max_lingering_topics) == (0.0, 0)


def test_durations_become_floats() -> None:
    assert type(Options(ping_interval=1).ping_interval) is float


def test_a_name_that_is_misspelt_is_a_type_error_as_for_any_function() -> None:
    with pytest.raises(TypeError):
        Options(ping_intervall=1)  # type: ignore[call-arg]


def test_options_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().ping_interval = 1.0  # type: ignore[misc]


# --- pacing ---


def test_pacing_begins_before_anyone_is_disconnected() -> None:
    assert Options(max_lag_bytes=1 << 20).pace_lag_bytes == 1 << 19
    assert Options(max_lag_bytes=1).pace_lag_bytes == 1
    with pytest.raises(ConfigError, match="pace_lag_bytes=2000 is over max_lag_bytes=1000; give at most"):
        Options(max_lag_bytes=1000, pace_lag_bytes=2000)


# --- origins ---


@pytest.mark.parametrize("origin", ["example.com", "https://", "https://a/b", "https://a b", "", 7, "https://u@a"])
def test_what_is_no_origin_is_refused(origin: object) -> None:
    with pytest.raises(ConfigError, match="no origin; give scheme and host"):
        Options(allow_origins=(origin,))  # type: ignore[arg-type]


def test_origins_come_as_a_list_or_as_text() -> None:
    expected = ("https://a.example", "https://*.b.example")
    for given in (["https://A.example", "https://*.b.example/"], "https://a.example, https://*.b.example"):
        assert Options(allow_origins=given).allow_origins == expected  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no list of origins"):
        Options(allow_origins=7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host", ["https://a.example", "a.example:80", "a/b", "a b", "", 7, "bücher.example", "[::1]", "*.", "*.*"]
)
def test_what_is_no_name_of_a_host_is_refused(host: object) -> None:
    with pytest.raises(ConfigError, match=r"allow_hosts: .* is no name of a host; give one without scheme and port"):
        Options(allow_hosts=(host,))  # type: ignore[arg-type]


def test_hosts_come_as_a_list_or_as_text() -> None:
    for given in (["A.example", "*.b.example."], "a.example, *.b.example"):
        assert Options(allow_hosts=given).allow_hosts == ("a.example", "*.b.example")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no list of host names"):
        Options(allow_hosts=7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="allow_hosts: 'a b' is no name of a host"):
        Options(allow_hosts="a b")  # type: ignore[arg-type]
    for nobody in ("", " , "):
        with pytest.raises(ConfigError, match=r"allow_hosts=.* has no name; give one"):
            Options(allow_hosts=nobody)  # type: ignore[arg-type]


# --- names and values from outside ---


@pytest.mark.parametrize("name", ["ping_interval", "ping-interval", "PingInterval", "PING_INTERVAL", "pingInterval"])
def test_names_from_outside_may_be_spelt_as_is_usual_there(name: str) -> None:
    assert Options.from_mapping({name: "1m30s"}).ping_interval == 90


def test_values_from_outside_may_be_text() -> None:
    options = Options.from_mapping({"max_message_bytes": "1MiB", "max_lag_age": "500ms", "topic_linger": "0"})
    assert (options.max_message_bytes, options.max_lag_age, options.topic_linger) == (1 << 20, 0.5, 0)


@pytest.mark.parametrize("name", ["MessageBuffer", "message_buffer", "PublisherBuffer", "subscriber-buffer"])
def test_the_go_program_s_channel_sizes_are_told_what_to_use_instead(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} has no counterpart here; use (max|pace)_lag_bytes"):
        Options.from_mapping({name: 10})


def test_a_name_from_outside_that_is_unknown_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'ping_intervall' is no option; did you mean ping_interval\?"):
        Options.from_mapping({"ping_intervall": 1})
    with pytest.raises(ConfigError, match="'xyz' is no option; the options are ping_interval, "):
        Options.from_mapping({"xyz": 1})


def test_an_option_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="ping_interval is given twice"):
        Options.from_mapping({"ping_interval": 1, "PingInterval": 2})


def test_replace_makes_a_changed_copy_that_is_checked() -> None:
    options = Options(ping_interval=1)
    changed = options.replace(pong_deadline=2)
    assert (changed.ping_interval, changed.pong_deadline, options.pong_deadline) == (1, 2, 10)
    with pytest.raises(ConfigError):
        options.replace(pong_deadline=0)


# --- text ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("500ms", 0.5),
        ("1m", 60),
        ("1m30s", 90),
        ("1h", 3600),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("5", 5),
        ("0.25", 0.25),
        (" 5s ", 5),
        ("-1", -1),
    ],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5 s", "5x", "5s5", "1e3", "nan", "inf", "5S", "\uff11s", "--5"])
def test_what_is_no_duration_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--timeout=.* is no duration; give one such as 5s, 500ms or 1m30s"):
        parse_duration(text, name="--timeout")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1048576),
        ("64MiB", 64 << 20),
        ("64mib", 64 << 20),
        ("64kB", 64_000),
        ("1.5KiB", 1536),
        ("2GB", 2 * 10**9),
        ("64M", 64 << 20),
        ("1 GiB", 1 << 30),
        ("7B", 7),
        ("0", 0),
    ],
)
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1TiBB", "-1", "1e6", "0x10", "1,5MiB", "9" * 30, "1_000"])
def test_what_is_no_size_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"size=.* is no size; give one such as 64MiB, 64kB or 1048576"):
        parse_size(text)


def as_keywords(**values: Any) -> dict[str, Any]:
    return values


def test_a_long_value_is_cut_in_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        Options(**as_keywords(ping_interval="x" * 10_000))
    assert len(str(caught.value)) < 200
