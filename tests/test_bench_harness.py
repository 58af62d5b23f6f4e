"""The benchmarks' harness: what a server is given, what is counted of it, what goes on beside it, and the tables."""

import json
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import harness, pairing
from benchmarks.columns import CPU_EACH, LATENCY, MOVED_P99
from benchmarks.engine import CURVES, append
from benchmarks.engine.__main__ import QUICK_SECONDS, quick
from benchmarks.harness import LOAD_CPU, SERVER_CPU, BenchmarkError, Subject, measure, started
from benchmarks.meanwhile import flooding, going_first
from benchmarks.pairing import Bench, Variant, run, save
from benchmarks.subjects import ENGINE, THREADED, subjects_from
from benchmarks.tables import append_table, table
from benchmarks.workloads import BENCHMARKS, fairness, gil
from fastfan.load import Percentiles, Plan
from pubsub.bench.outcome import Outcome, Workload
from pubsub.bench.running import run_workload
from pubsub.errors import PubSubError
from tests.support.outcomes import cost, outcome
from tests.support.server import server_process

SMALL = Plan(subscribers=5, messages=20)
NATIVE_THREADS = {"fastpubsub-io0": 0, "fastpubsub": 1, "fastpubsub-io2": 2, "fastpubsub-io2-spread": 2}


@pytest.fixture(autouse=True)
def _output_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "BUILD", tmp_path)


def subject_of(name: str) -> Subject:
    (subject,) = subjects_from([name], [])
    return subject


def tasks_of(pid: int) -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


def ran_seconds(pid: int) -> dict[int, float]:
    """What each thread has used of a CPU."""
    stats = {task: Path(f"/proc/{pid}/task/{task}/schedstat").read_text() for task in tasks_of(pid)}
    return {task: int(stat.split()[0]) / 1e9 for task, stat in stats.items()}


# -- Its threads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "threads"), NATIVE_THREADS.items())
def test_all_threads_of_a_server_are_on_its_cpu_unless_it_is_spread(name: str, threads: int) -> None:
    with started(subject_of(name)) as (port, process):
        # It may listen before its threads run; once it has delivered they do.
        run_workload(Workload(name="trial", plan=replace(SMALL, port=port), rest_seconds=0.01), None)
        tasks = tasks_of(process.pid)
        allowed = {SERVER_CPU} if name != "fastpubsub-io2-spread" else set(harness.CPUS)
        assert len(tasks) >= 1 + threads
        assert all(os.sched_getaffinity(task) == allowed for task in tasks)


def test_cpu_of_a_server_is_that_of_all_its_threads() -> None:
    plan = Plan(subscribers=20, messages=100_000)
    with started(subject_of("fastpubsub-io2")) as (port, process):
        cpu, before = process.cpu_seconds(), ran_seconds(process.pid)
        run_workload(Workload(name="trial", plan=replace(plan, port=port)), None)
        after = ran_seconds(process.pid)
        cpu = process.cpu_seconds() - cpu
        ran = {task: seconds - before.get(task, 0) for task, seconds in after.items()}
    python = ran.pop(process.pid)
    assert sum(seconds > 0 for seconds in ran.values()) >= 2
    # Nearly all of the work is theirs. A thread may still be at the end of it when it is looked at.
    assert cpu > 0.9 * (python + sum(ran.values())) and cpu > 2 * python


@pytest.mark.parametrize("name", [*THREADED, "embedded", "embedded-io0"])
def test_every_variant_of_ours_serves(name: str) -> None:
    measured = measure(subject_of(name), Workload(name="trial", plan=SMALL, rest_seconds=0.01))
    assert measured.is_intact and measured.report.delivered == 100


@pytest.mark.parametrize("variant", gil.BENCH.variants, ids=lambda variant: variant.name)
def test_every_way_of_holding_the_gil_starts(variant: Variant) -> None:
    subject = subject_of("embedded")
    held = replace(subject, command=(*subject.command, *variant.flags))
    assert measure(held, Workload(name="trial", plan=SMALL, rest_seconds=0.01)).is_intact


# -- Beside a load -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with server_process() as process:
        yield process.port


def test_a_flood_goes_on_while_another_load_is_measured(port: int) -> None:
    flood = Plan(port=port, path="/large", subscribers=10, window=1, seconds=1000)
    with flooding(flood):
        quiet = Plan(port=port, path="/small", subscribers=2, messages=10, rate=100)
        measured = run_workload(Workload(name="trial", plan=quiet), None)
    assert measured.is_intact and measured.report.delivered == 20
    with flooding(None):
        pass


def test_a_flood_that_ended_before_the_measuring_did_is_an_error(port: int) -> None:
    short = Plan(port=port, path="/large", subscribers=2, messages=1)
    with pytest.raises(PubSubError, match="did not last"), flooding(short):
        run_workload(Workload(name="trial", plan=Plan(port=port, path="/small", subscribers=2, messages=100)), None)


def test_a_flood_that_cannot_connect_is_an_error() -> None:
    with pytest.raises(PubSubError, match=r"the flood beside it: .*refused"), flooding(replace(SMALL, port=1)):
        pass


def test_a_load_goes_first_only_for_a_while_and_where_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    with going_first():
        assert os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_OTHER)  # as root; as others
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with going_first():
        assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_crowd_is_as_large_as_descriptors_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, subscribers in ((20_000, 15_000), (10_000, 9000), (1024, 524)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert fairness.crowd(1).subscribers == subscribers
    assert (fairness.crowd(0).window, fairness.crowd(1).window) == (0, 1)


# -- Tables --------------------------------------------------------------------------------------------------------

BY_POINT = Bench(
    workload=Workload(name="trial", plan=SMALL),
    columns=(CPU_EACH,),
    variants=(Variant(name="few"), Variant(name="many", change=lambda plan: replace(plan, subscribers=50))),
    by_point=True,
)
BESIDE = Bench(
    workload=Workload(name="trial", plan=SMALL),
    columns=(LATENCY[0], MOVED_P99),
    variants=(Variant(name="alone"), Variant(name="beside", flood=lambda: Plan(subscribers=7, seconds=1))),
    goes_first=True,
)
A, B = Subject(name="a", command=("a",)), Subject(name="b", command=("b",))


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int, bool]]:
    """Runs in their order, none of which takes place: a delivery costs 1 ns in a, 3 ns in b, and ten times as much to
    many; latency is a millisecond, with a flood three."""
    measured: list[tuple[str, int, int, bool]] = []

    def pretend(subject: Subject, workload: Workload, *, flood: Plan | None, goes_first: bool) -> Outcome:
        subscribers = workload.plan.subscribers
        measured.append((subject.name, subscribers, flood.subscribers if flood else 0, goes_first))
        ns = (1 if subject.name == "a" else 3) * subscribers
        times = Percentiles(10, *[3_000_000 if flood else 1_000_000] * 5)
        return outcome(cost(publish_cpu_seconds=ns / 1e9), delivered=1, latency=times)

    monkeypatch.setattr(pairing, "measure", pretend)
    return measured


def rows(text: str) -> list[list[str]]:
    return [[cell for cell in line.strip().split("  ") if cell] for line in text.splitlines() if line.strip()]


def test_points_are_compared_with_the_first_servers_at_that_point(
    order: list[tuple[str, int, int, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    run("points", BY_POINT, SMALL, [A, B], rounds=2)
    assert [each[:2] for each in order] == [("a", 5), ("b", 5), ("a", 50), ("b", 50)] * 2
    *_, head, a_few, b_few, a_many, b_many = rows(capsys.readouterr().out)
    assert head[2].strip() == "to a"
    assert [row[0] for row in (a_few, b_few, a_many, b_many)] == ["a, few", "b, few", "a, many", "b, many"]
    assert a_few[2].strip() == a_many[2].strip() == "1"
    assert b_few[2].strip().startswith("3.000 x") and b_many[2].strip().startswith("3.000 x")


@pytest.mark.usefixtures("order")
def test_points_stand_together_in_the_table_of_the_docs(tmp_path: Path) -> None:
    save(tmp_path / "saved.json", "engine-size", [A, B], run("points", BY_POINT, SMALL, [A, B], rounds=2))
    drawn = table("engine-size", json.loads((tmp_path / "saved.json").read_text())).splitlines()[2:]
    assert [line.split(" | ")[0] for line in drawn] == ["| a, few", "| b, few", "| a, many", "| b, many"]
    assert [line.split(" | ")[2] for line in drawn] == ["1", "3 [3 .. 3]", "1", "3 [3 .. 3]"]


def test_a_figure_that_moves_is_shown_with_the_difference(
    order: list[tuple[str, int, int, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    run("beside", BESIDE, SMALL, [A], rounds=1)
    assert order == [("a", 5, 0, True), ("a", 5, 7, True)]
    *_, alone, beside = rows(capsys.readouterr().out)
    assert [cell.strip() for cell in alone[1:5]] == ["1,000", "1", "1,000", "-"]
    assert [cell.strip() for cell in beside[1:5]] == ["3,000", "3.000 x", "3,000", "+2,000"]


# -- The engine ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", append.WAYS, ids=lambda way: way.name)
def test_appending_is_timed_and_leaves_nothing_in_the_log(way: append.Way) -> None:
    assert append.append_ns(way, 128, rounds=2) > 0


@pytest.mark.parametrize("size", append.SIZES)
def test_a_round_is_whole_batches_that_a_cache_holds(size: int) -> None:
    count = append.messages_of(size)
    assert count % append.BATCH == 0 and 0 < count * size <= append.ROUND_BYTES


def test_appending_has_a_line_for_each_way_beside_bare_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(append, "bare_ns", lambda size, rounds: 2.0)
    monkeypatch.setattr(append, "append_ns", lambda way, size, rounds: 6.0)
    figures = append.measure((16, 128), turns=2, rounds=1)
    append.print_rows(figures)
    shown = capsys.readouterr().out
    assert shown.count(append.BARE + "  ") == 2 and shown.count("3.000 x") == 2 * len(append.WAYS)
    drawn = append_table({"rows": figures}).splitlines()
    assert len(drawn) == 4 and drawn[2].startswith("| 16 | 2.0 | 6.0 | 3 [3 .. 3] |")


def test_quick_is_fewer_points_and_short_ones() -> None:
    for module in CURVES.values():
        short = quick(module.BENCH)
        assert 0 < len(short.variants) < len(module.BENCH.variants)
        assert short.workload.plan.seconds == QUICK_SECONDS
        assert set(module.BENCH.subjects) >= {"bare_log", "fastpubsub", "fastpubsub-io2-spread"}
    assert set(ENGINE) <= {"bare_log", *THREADED}


@pytest.mark.parametrize("module", [append, *CURVES.values(), *BENCHMARKS.values()], ids=lambda each: each.__name__)
def test_a_benchmark_opens_with_its_question_and_what_would_make_it_lie(module: ModuleType) -> None:
    question, _, rest = str(module.__doc__).partition("\n")
    assert question.endswith("?") and "hat would make it lie" in " ".join(rest.split())


def test_a_server_that_is_not_known_is_told() -> None:
    with pytest.raises(BenchmarkError, match="fastpubsub-io2"):
        subject_of("fastpubsub-io3")
    assert LOAD_CPU in harness.CPUS
