"""The soak's arithmetic (tests/soak), and a run of a few seconds."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pubsub import ConfigError
from tests.soak.departures import Departures, Ending
from tests.soak.messages import Mint, Reading, Tally
from tests.soak.plan import Plan, options_from
from tests.soak.programs import DiedError, asked
from tests.soak.running import Outcome
from tests.soak.samples import Sample
from tests.soak.trend import Point, halves, slope, windows
from tests.soak.verdict import Line, judge
from tests.support.namespaces import missing
from tests.support.wires import missing_tun

UUID = "-4c0459af-361f-423a-8c5c-682e557a8dd7"
MIB = 1 << 20
ROOT = Path(__file__).parents[1]


# --- trends ---------------------------------------------------------------------------------------------------------


def test_slope_of_a_line_is_its_own() -> None:
    assert slope([(float(x), 3.0 * x + 7) for x in range(20)]) == pytest.approx(3.0)


def test_slope_is_not_moved_by_a_quarter_of_spikes() -> None:
    dice = random.Random(1)
    points = [(float(x), 0.5 * x + dice.random() / 100) for x in range(40)]
    for index in dice.sample(range(40), 10):
        points[index] = points[index][0], 1e6
    assert slope(points) == pytest.approx(0.5, abs=0.1)


def test_slope_of_one_point_is_none() -> None:
    assert slope([(1.0, 1.0)]) == 0.0


def test_windows_have_the_medians_of_equal_times() -> None:
    points: list[Point] = [(0.0, 1.0), (1.0, 2.0), (2.0, 300.0), (9.0, 5.0), (10.0, 7.0)]
    assert windows(points, 2) == [(1.0, 2.0), (9.5, 6.0)]


def test_halves_are_of_the_time_and_not_of_the_points() -> None:
    assert halves([(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (10.0, 9.0)]) == (1.0, 9.0)


# --- departures -----------------------------------------------------------------------------------------------------


def departures(*endings: Ending, told: tuple[tuple[str, str], ...] = ()) -> Departures:
    book = Departures()
    book.ended(endings)
    for name, cause in told:
        book.departed(name + UUID, cause)
    book.finish()
    return book


def test_departure_with_the_right_cause_is_matched() -> None:
    book = departures(Ending("polite.1", frozenset({"closed"})), told=(("polite.1", "closed"),))
    assert (book.matched, book.faults) == ({("polite", "closed"): 1}, [])


def test_departure_that_is_told_first_is_matched_too() -> None:
    book = Departures()
    book.departed("reset.7" + UUID, "reset")
    book.ended([Ending("reset.7", frozenset({"left", "reset"}))])
    book.finish()
    assert book.faults == []


def test_departure_with_another_cause_is_a_fault() -> None:
    book = departures(Ending("polite.1", frozenset({"closed"})), told=(("polite.1", "no_pong"),))
    assert book.faults == ["polite.1 departed as 'no_pong'; right would be closed"]


def test_departure_that_no_client_knows_is_a_fault() -> None:
    assert departures(told=(("reader.1", "stalled"),)).fault_count == 1


def test_departure_that_is_told_twice_is_a_fault() -> None:
    twice = ("polite.1", "closed"), ("polite.1", "closed")
    assert departures(Ending("polite.1", frozenset({"closed"})), told=twice).fault_count == 1


def test_end_that_is_never_told_is_a_fault_unless_the_client_was_perhaps_not_there() -> None:
    assert departures(Ending("polite.1", frozenset({"closed"}))).fault_count == 1
    assert departures(Ending("unanswered.1", frozenset({"left"}), sure=False)).fault_count == 0


def test_many_clients_may_share_a_name() -> None:
    many = Ending("flood.1", frozenset({"closed"}), sure=False, many=True)
    book = departures(many, told=tuple(("flood.1", cause) for cause in ("closed", "closed", "memory")))
    assert (book.matched, book.fault_count) == ({("flood", "closed"): 2}, 1)


def test_ending_goes_through_json() -> None:
    ending = Ending("a.1", frozenset({"x", "y"}), sure=False, many=True)
    assert Ending.from_document(ending.to_document()) == ending


# --- messages -------------------------------------------------------------------------------------------------------


def some_messages(count: int, *, empties: bool = False) -> list[bytes | str]:
    mint = Mint(1, seed=3, empties=empties)
    return [mint.next() for _ in range(count)]


def read(messages: list[bytes | str], *, gaps: bool = False) -> Tally:
    tally = Tally()
    reading = Reading("reader", tally, gaps=gaps, known=range(1, 2))
    for message in messages:
        reading.take(message)
    return tally


def wrongs(tally: Tally) -> tuple[int, int, int, int]:
    return tally.lost, tally.duplicated, tally.reordered, tally.damaged


def test_messages_of_every_size_and_type_are_read_without_a_fault() -> None:
    messages = some_messages(400, empties=True)
    assert {type(each) for each in messages} == {bytes, str}
    assert min(map(len, messages)) == 0 and max(map(len, messages)) > 32 << 10
    tally = read(messages)
    assert wrongs(tally) == (0, 0, 0, 0) and tally.delivered == 400


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([0, 1, 4], (2, 0, 0, 0)),
        ([1, 2], (1, 0, 0, 0)),
        ([0, 1, 1, 2], (0, 1, 0, 0)),
        ([0, 2, 1, 3], (0, 0, 1, 0)),
    ],
)
def test_what_is_lost_doubled_or_out_of_order_is_told_apart(
    order: list[int], expected: tuple[int, int, int, int]
) -> None:
    messages = some_messages(5)
    assert wrongs(read([messages[index] for index in order])) == expected


def test_gaps_are_skips_where_messages_may_be_skipped() -> None:
    messages = some_messages(5)
    tally = read([messages[0], messages[3]], gaps=True)
    assert wrongs(tally) == (0, 0, 0, 0) and tally.skipped == 2


def test_changed_byte_is_damage() -> None:
    message = next(each for each in some_messages(50) if isinstance(each, bytes))
    changed = message[:-1] + bytes([message[-1] ^ 1])
    assert wrongs(read([changed]))[3] == 1
    assert wrongs(read([b"what nobody sent"]))[3] == 1


def test_lost_message_of_0_bytes_is_noticed_at_the_next_one() -> None:
    messages = some_messages(400, empties=True)
    lost = next(index for index, each in enumerate(messages) if not each)
    assert wrongs(read(messages[:lost] + messages[lost + 1 :])) == (1, 0, 0, 0)
    assert wrongs(read([*messages[:lost], b"", *messages[lost:]])) == (0, 1, 0, 0)


def test_last_message_is_missed() -> None:
    tally = Tally()
    reading = Reading("reader", tally, gaps=False, known=range(1, 2))
    reading.take(some_messages(1)[0])
    reading.miss(1, 3)
    assert tally.lost == 2


# --- the verdict ----------------------------------------------------------------------------------------------------

SAMPLE = Sample(
    seconds=0.0,
    rss_bytes=50 * MIB,
    pss_bytes=40 * MIB,
    descriptors=114,
    threads=2,
    cpu_seconds=0.0,
    clients=100,
    topics=9,
    memory_bytes=MIB,
    messages=0,
    departures=0,
    refusals=0,
    events_dropped=0,
    p50_ms=1.0,
    p99_ms=10.0,
    pause_ms=1.0,
)
AT_REST = replace(SAMPLE, descriptors=14, clients=0, topics=0, memory_bytes=0)


def outcome(
    *, minutes: float = 20.0, leak_bytes: float = 0.0, leak_held: float = 0.0, leak_descriptors: float = 0.0
) -> Outcome:
    """A soak in which nothing goes wrong but for what leaks every second."""
    dice = random.Random(2)
    made = Outcome(Plan(minutes=minutes), rest_before=AT_REST, rest_after=AT_REST)
    made.steady = {"delivered": 5, "lost": 0, "duplicated": 0, "reordered": 0, "damaged": 0}
    made.far = dict(made.steady)
    made.departures = departures(Ending("cut_off_a.1", frozenset({"no_pong"})), told=(("cut_off_a.1", "no_pong"),))
    made.stats = {"departures": {"no_pong": 1}}
    for second in range(int(minutes * 60)):
        wobble = dice.choice((0, 0, 0, 20)) * MIB + dice.randrange(MIB)  # what is on its way, and now and then a flood
        held = SAMPLE.memory_bytes + int(second * leak_held)
        rss = SAMPLE.rss_bytes + wobble + held + int(second * leak_bytes)
        descriptors = SAMPLE.descriptors + int(second * leak_descriptors)
        made.samples.append(
            replace(SAMPLE, seconds=float(second), rss_bytes=rss, descriptors=descriptors, memory_bytes=held)
        )
    return made


def failed(lines: list[Line]) -> list[str]:
    return [line.name for line in lines if line.passed is False]


def test_verdict_passes_where_nothing_leaks() -> None:
    assert failed(judge(outcome())) == []


def test_verdict_finds_ten_mebibytes_in_ten_minutes() -> None:
    assert failed(judge(outcome(leak_bytes=10 * MIB / 600))) == ["memory"]


def test_verdict_finds_messages_that_are_held_more_and_more() -> None:
    assert failed(judge(outcome(leak_held=40 * MIB / 600))) == ["held"]


def test_verdict_finds_a_descriptor_in_a_minute() -> None:
    assert failed(judge(outcome(leak_descriptors=1 / 60))) == ["descriptors"]


def test_verdict_does_not_judge_trends_of_short_runs() -> None:
    lines = judge(outcome(minutes=2.0, leak_bytes=MIB))
    assert failed(lines) == [] and [line.name for line in lines if line.passed is None] == [
        "memory",
        "held",
        "descriptors",
        "p99",
    ]


def test_verdict_fails_for_one_lost_message() -> None:
    made = outcome()
    made.steady["lost"] = 1
    assert failed(judge(made)) == ["messages"]


def test_verdict_fails_for_one_message_lost_behind_the_bad_wire_and_where_no_half_open_peer_was_found_out() -> None:
    made = outcome()
    made.far["lost"] = 1
    assert failed(judge(made)) == ["wire"]
    made = outcome()
    made.departures = departures(Ending("polite.1", frozenset({"closed"})), told=(("polite.1", "closed"),))
    made.stats = {"departures": {"closed": 1}}
    assert failed(judge(made)) == ["half-open"]
    # Who is heard of again has not been found out.
    made.departures = departures(Ending("cut_off_quiet.1", frozenset({"reset"})), told=(("cut_off_quiet.1", "reset"),))
    made.stats = {"departures": {"reset": 1}}
    assert failed(judge(made)) == ["half-open"]


def test_verdict_does_not_judge_what_the_machine_does_not_allow() -> None:
    made = outcome()
    made.far = {}
    made.without = ["delay and loss: needs /dev/net/tun"]
    [line] = [line for line in judge(made) if line.name == "wire"]
    assert line == Line("wire", None, "without delay and loss: needs /dev/net/tun")
    assert failed(judge(made)) == []


def test_verdict_fails_where_the_server_does_not_come_to_rest() -> None:
    made = outcome()
    made.rest_after = replace(AT_REST, descriptors=15)
    assert failed(judge(made)) == ["rest"]
    made.rest_after = replace(AT_REST, memory_bytes=1)
    assert failed(judge(made)) == ["rest"]


def test_verdict_fails_for_a_departure_without_a_reason_and_a_refusal_that_nobody_read() -> None:
    made = outcome()
    made.stats = {"departures": {"no_pong": 1, "closed": 1}, "refusals": {"400": 1}}
    assert failed(judge(made)) == ["departures", "refusals"]


def test_verdict_allows_for_those_who_left_late_and_did_not_look() -> None:
    made = outcome()
    made.stats |= {"refusals": {"400": 3, "408": 5}}
    made.refusals_seen = Counter({"400": 3, "408": 3})
    assert failed(judge(made)) == ["refusals"]
    made.counts["left_late"] = 2
    assert failed(judge(made)) == []
    made.refusals_seen["408"] = 6
    assert failed(judge(made)) == ["refusals"]


def test_plan_is_read_from_words_and_goes_through_json() -> None:
    plan = options_from(["minutes=1.5", "seed=7", "out=build/x"])
    assert (plan.minutes, plan.seed, plan.out) == (1.5, 7, Path("build/x"))
    assert Plan.from_document(plan.to_document()) == plan
    with pytest.raises(ValueError, match="'minute=1' is no option"):
        options_from(["minute=1"])


def test_plan_takes_options_of_the_server() -> None:
    plan = options_from(["io_threads=2", "lane=off", "topic_linger=2s"])
    assert (plan.options().io_threads, plan.options().lane, plan.options().topic_linger) == (2, False, 2.0)
    with pytest.raises(ConfigError, match="io_threads"):
        options_from(["io_threads=99"])


# --- programs -------------------------------------------------------------------------------------------------------


def test_server_that_dies_is_told_with_its_exit_code() -> None:
    with asked("server", Plan(), "127.0.0.1", cpu=None) as server:
        assert server.ask()["stats"]["memory_bytes"] == 0
        server.program.signal(signal.SIGKILL)
        with pytest.raises(DiedError, match="server: exit code -9"):
            server.ask()


# --- a run ----------------------------------------------------------------------------------------------------------


def run_soak(*words: str, environment: dict[str, str] | None = None) -> str:
    """What it says, when it has passed."""
    few = "visits=30", "nonsense=10", "laggards=2", "flood_every=0", "message_rate=5", "seed=1"
    # In a process of its own: matplotlib keeps descriptors and a thread.
    command = [sys.executable, "-m", "tests.soak", *few, *words]
    environment = {**os.environ, **(environment or {})}
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False, env=environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_soak_of_a_few_seconds_passes(tmp_path: Path) -> None:
    said = run_soak("minutes=0.08", "crowd_every=2", "crowd=40", f"out={tmp_path}")
    assert "PASS  departures" in said and "PASS  messages" in said
    assert missing() or "  half-open " in said
    assert missing_tun() or "PASS  wire" in said
    made = {file.name for file in tmp_path.iterdir()}
    assert made == {
        *("samples.jsonl", "samples.csv", "outcome.json"),
        *("memory.svg", "descriptors.svg", "latency.svg"),
    }


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_soak_says_what_it_goes_without_where_there_are_no_namespaces(tmp_path: Path) -> None:
    said = run_soak("minutes=0.03", f"out={tmp_path}", environment={"PATH": ""})  # no `ip` is found
    assert "without half-open peers, delay and loss: needs ip (iproute2)\n" in said
    assert "----  wire " in said and "----  half-open " in said
