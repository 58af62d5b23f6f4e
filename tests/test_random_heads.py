"""What must hold of every request head holds of the fuzzer's corpus and of a few random ones (tests/fuzz/heads.py)."""

import random
from pathlib import Path

import pytest

from pubsub import http_door
from tests.fuzz import heads
from tests.support.heads import check_head

# More by hand: make fuzz ARGS="targets=heads seconds=3600"
EXAMPLES = 1500
KEPT = [path for folder in heads.CORPORA for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_it_holds_of_a_head_of_the_corpus(path: Path) -> None:
    for seed in range(5):
        check_head(path.read_bytes(), random.Random(seed))


def test_it_holds_of_random_heads() -> None:
    corpus = heads.read_corpus()
    for seed in range(EXAMPLES):
        random_ = random.Random(seed)
        head = heads.random_head(random_, corpus)
        try:
            check_head(head, random_)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {head!r}") from error


def test_a_head_of_which_it_does_not_hold_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_head: bytes, _fault: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(heads, "FOUND", tmp_path)
    monkeypatch.setattr(http_door, "refuse", fail)
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert heads.tried(head, "cuts", "1") is None
    assert (tmp_path / "heads-1").read_bytes() == head
    monkeypatch.undo()
    assert heads.tried(head, "cuts", "1") == "400"
