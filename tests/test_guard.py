"""The guard of `make bench-guard`: what it says of two counts, and that what it counts is the engine."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

import fastfan
from benchmarks.guard import __main__ as guard
from benchmarks.guard.comparison import (
    Baseline,
    Verdict,
    compare,
    exact,
    load,
    nearest,
    rows,
    save,
    verdict,
)
from benchmarks.guard.counting import ROOT, Count, count, least, read_dump
from benchmarks.guard.environment import Environment
from benchmarks.guard.where import functions, table
from benchmarks.harness import BenchmarkError

HERE = Environment(machine="x86_64", compiler="GNU 12", cython="3.3", python="3.11", build="Release")
ELSEWHERE = Environment(machine="aarch64", compiler="Clang 19", cython="3.3", python="3.13", build="Release")
BEFORE = Count(engine=200.0, whole=1000.0)


def baseline(environment: Environment, surroundings: str = "glibc") -> Baseline:
    return Baseline(environment=environment, surroundings=surroundings, counts={"publish": BEFORE})


def judged(now: Count, *, whole: bool = True) -> Verdict:
    return verdict(compare({"publish": BEFORE}, {"publish": now}), margin=3.0, whole=whole)


# -- Judging -------------------------------------------------------------------------------------------------------


def test_a_change_within_the_margin_is_no_news() -> None:
    found = judged(Count(engine=205.9, whole=970.1))
    assert not found.worse and not found.better


def test_more_than_the_margin_is_worse_and_is_named() -> None:
    found = judged(Count(engine=207.0, whole=1007.0))
    assert found.worse == ["publish: the engine 200.0 -> 207.0 instructions (+3.5 %)"] and not found.better


def test_a_copy_that_the_c_library_makes_shows_in_the_whole() -> None:
    assert judged(Count(engine=201.0, whole=1100.0)).worse == [
        "publish: the whole 1,000.0 -> 1,100.0 instructions (+10.0 %)"
    ]


def test_less_than_the_margin_is_better_and_no_failure() -> None:
    found = judged(Count(engine=150.0, whole=950.0))
    assert len(found.better) == 2 and not found.worse


def test_in_other_surroundings_only_the_engine_is_judged() -> None:
    assert judged(Count(engine=207.0, whole=2000.0), whole=False).worse == [
        "publish: the engine 200.0 -> 207.0 instructions (+3.5 %)"
    ]


def test_less_than_an_instruction_is_rounding() -> None:
    few, more = Count(engine=2.0, whole=4.0), Count(engine=2.9, whole=4.9)
    assert not verdict(compare({"beat": few}, {"beat": more}), margin=3.0).worse


def test_operations_that_are_new_or_gone_are_shown_and_not_judged() -> None:
    lines = compare({"old": BEFORE}, {"new": BEFORE})
    assert rows(lines) == [
        ["new", "-", "200.0", "new", "-", "1,000.0", "new"],
        ["old", "200.0", "-", "gone", "1,000.0", "-", "gone"],
    ]
    found = verdict(lines, margin=3.0)
    assert not found.worse and not found.better


# -- Baselines -----------------------------------------------------------------------------------------------------


def test_without_its_environment_a_baseline_is_only_the_nearest() -> None:
    newer = Environment(machine="x86_64", compiler="GNU 14", cython="3.3", python="3.13", build="Release")
    baselines = [baseline(ELSEWHERE), baseline(HERE)]
    assert exact(baselines, newer) is None and nearest(baselines, newer) == baseline(HERE)
    assert exact(baselines, HERE) == baseline(HERE)
    assert nearest([], newer) is None


def test_an_update_keeps_the_baselines_of_other_environments(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    save(path, load(path), baseline(HERE, "old"))
    save(path, load(path), baseline(ELSEWHERE))
    save(path, load(path), baseline(HERE, "new"))
    assert load(path) == [baseline(ELSEWHERE), baseline(HERE, "new")]


def test_the_committed_baseline_can_be_read() -> None:
    assert load(guard.BASELINE)


# -- The command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Count]:
    """What the command will have counted; its baseline is one of `HERE`."""
    counts = {"publish": BEFORE}
    path = tmp_path / "baseline.json"
    save(path, [], baseline(HERE))
    monkeypatch.setattr(guard, "BASELINE", path)
    monkeypatch.setattr(guard, "count", lambda _names: counts)
    monkeypatch.setattr(guard, "environment_here", lambda: HERE)
    monkeypatch.setattr(guard, "surroundings_here", lambda: "glibc")
    return counts


def test_the_command_fails_beyond_its_margin_only(
    counted: dict[str, Count], capsys: pytest.CaptureFixture[str]
) -> None:
    counted["publish"] = Count(engine=210.0, whole=1010.0)
    assert guard.guard(update=False, margin=6.0) == 0
    assert guard.guard(update=False, margin=4.0) == 1
    assert "MORE: publish: the engine 200.0 -> 210.0 instructions (+5.0 %)" in capsys.readouterr().out


def test_an_update_is_what_the_next_run_compares_with(counted: dict[str, Count]) -> None:
    counted["publish"] = Count(engine=400.0, whole=2000.0)
    assert guard.guard(update=False, margin=3.0) == 1
    assert guard.guard(update=True, margin=3.0) == 0
    assert guard.guard(update=False, margin=3.0) == 0


def test_where_there_is_no_baseline_nothing_is_judged(
    counted: dict[str, Count], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counted["publish"] = Count(engine=400.0, whole=2000.0)
    monkeypatch.setattr(guard, "environment_here", lambda: ELSEWHERE)
    assert guard.guard(update=False, margin=3.0) == 0
    out = capsys.readouterr().out
    assert (
        "+100.0 %" in out
        and f"not judged: there is no baseline for this environment; shown beside that of {HERE}" in out
    )


# -- Counting ------------------------------------------------------------------------------------------------------

DUMP = """\
desc: Trigger: Client Request: publish
positions: line
events: Ir
ob=/home/a/src/fastfan/_topic.so
fn=publish
0 7
cob=/lib/libc.so.6
cfn=memcpy
calls=2 0
0 900
0 3
ob=/lib/libc.so.6
fn=memcpy
0 900
ob=/home/a/src/fastfan/_log.so
fn=append
0 40
"""


def test_a_call_costs_its_caller_nothing() -> None:
    assert read_dump(DUMP, "/home/a/src/fastfan/") == ("publish", Count(engine=50, whole=950))


def test_each_function_has_what_is_its_own() -> None:
    assert functions(DUMP) == {("publish", "_topic"): 10, ("memcpy", "libc"): 900, ("append", "_log"): 40}
    names = "fn=__pyx_f_7fastfan_6_topic_append_batch.isra.0\n0 5\nfn=append_batch'2\n0 1\nfn=unmask.part.1\n0 1\n"
    assert set(functions("ob=/a/_topic.so\n" + names)) == {("append_batch", "_topic"), ("unmask", "_topic")}


def test_functions_under_a_hundredth_are_one_line() -> None:
    found = Counter({("large", "_log"): 1980, ("small", "_log"): 15, ("smaller", "libc"): 5})
    assert table(found, 10) == [["large", "_log", "198.0", "99 %"], ["the others", "", "2.0", "1 %"]]


def test_of_several_rounds_the_least_counts() -> None:
    rounds = [Count(engine=5, whole=30), Count(engine=6, whole=20)]
    assert least(rounds) == Count(engine=5, whole=20)


def test_without_valgrind_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(BenchmarkError, match="apt-get install valgrind"):
        count(["close"])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
@pytest.mark.skipif(
    not Path(fastfan.__file__).is_relative_to(ROOT / "src"), reason="the engine under test is not the one in place"
)
def test_under_valgrind_the_engines_own_count_is_the_same_each_time() -> None:
    name = "deliver 1 x 128 B, to each of 100"
    first, second = count([name])[name], count([name])[name]
    assert first.engine == second.engine
    assert 0 < first.engine < first.whole
