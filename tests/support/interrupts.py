"""Ctrl-C while a call waits."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.support.peers import SOON

__all__ = ["interrupted_soon"]


@contextlib.contextmanager
def interrupted_soon() -> Iterator[None]:
    """The main thread gets SIGINT a moment later, and that has to end what the block is waiting in."""
    main = threading.main_thread().ident
    assert main is not None
    interrupt = threading.Timer(SOON, signal.pthread_kill, (main, signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    interrupt.join()
