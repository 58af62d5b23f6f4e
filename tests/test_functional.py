"""Real data through a real server, every byte and its order checked. See tests/support/functional.py."""

import hashlib
from pathlib import Path

import pytest

from pubsub.server import serve
from tests.support.functional import LENGTH, PREFIX, Ledger, Mismatch, Plan, carry_out, load_payloads
from tests.support.processes import running_server


async def test_five_publishers_and_five_subscribers_lose_and_reorder_nothing() -> None:
    with running_server() as server:
        await carry_out(Plan(5, 5, load_payloads()), f"{server.url}/functional")


async def test_the_same_holds_for_a_server_in_this_process() -> None:
    server = await serve("127.0.0.1", 0)
    try:
        await carry_out(Plan(2, 3, load_payloads()[:20]), f"{server.url}/functional")
    finally:
        await server.close()


def test_the_data_has_an_empty_and_a_largest_message_and_is_the_same_for_the_same_seed() -> None:
    payloads = load_payloads(messages=10)
    assert (len(payloads), len(payloads[0]), len(payloads[1])) == (10, 0, 100_000)
    assert payloads == load_payloads(messages=10)


def test_a_data_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "test.dat"
    file.write_bytes(LENGTH.pack(0) + LENGTH.pack(3) + b"abc")
    assert load_payloads(file) == [b"", b"abc"]


def ledger_with_one_message() -> Ledger:
    ledger = Ledger(publishers=1, messages=1)
    ledger.take(PREFIX.pack(0, 0) + b"abc")
    return ledger


def test_the_ledger_is_complete_after_the_right_hash() -> None:
    ledger = ledger_with_one_message()
    ledger.take(PREFIX.pack(0, 1) + hashlib.sha256(LENGTH.pack(3) + b"abc").digest())
    assert ledger.complete


@pytest.mark.parametrize("message", [PREFIX.pack(0, 0) + b"abc", PREFIX.pack(0, 2), PREFIX.pack(0, 1) + bytes(32)])
def test_the_ledger_refuses_what_comes_twice_or_too_early_or_with_another_hash(message: bytes) -> None:
    with pytest.raises(Mismatch):
        ledger_with_one_message().take(message)
