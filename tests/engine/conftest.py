"""Rigs: an engine each, closed with all its peers when the test is over."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.engine import IO_THREADS, Rig
from tests.support.sockets import Pair, tcp_pair, unix_pair


@pytest.fixture(autouse=True)
def leave_out_what_is_about_turns(request: pytest.FixtureRequest) -> None:
    if IO_THREADS and request.node.get_closest_marker("hosted"):
        pytest.skip("about turns, and this engine has I/O threads")


@pytest.fixture
def make_rig() -> Iterator[Callable[..., Rig]]:
    """Makes rigs with options of the test's own."""
    rigs: list[Rig] = []

    def make(**options: float) -> Rig:
        rigs.append(Rig(**options))  # type: ignore[arg-type]
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """One with long deadlines, so that nothing happens by itself."""
    return make_rig()


@pytest.fixture(params=[unix_pair, tcp_pair], ids=["unix", "tcp"])
def new_pair(request: pytest.FixtureRequest) -> Callable[..., Pair]:
    """Makes pairs of connected sockets: of both kinds, one after the other."""
    maker: Callable[..., Pair] = request.param
    return maker
