"""What goes on beside a load that is measured: another load on the same core, and which of the two goes first."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastfan.load import Load, LoadError, LoadStopped, Plan
from pubsub.errors import PubSubError

__all__ = ["flooding", "going_first"]


@contextmanager
def flooding(plan: Plan | None) -> Iterator[None]:
    """Another load meanwhile, from its first message on. Nothing of it is checked but that it goes on to the end."""
    if plan is None:
        yield
        return
    with Load(plan) as load:
        try:
            load.connect()
        except LoadError as error:
            raise PubSubError(f"the flood beside it: {error}") from error
        thread = threading.Thread(target=_publish, args=[load], name="flood")
        thread.start()
        try:
            yield
            if not thread.is_alive() or not load.report().delivered:
                raise PubSubError("the flood beside it did not last; give it more seconds")
        finally:
            load.stop()
            thread.join()


def _publish(load: Load) -> None:
    with suppress(LoadStopped, LoadError):
        load.publish()


@contextmanager
def going_first(*, asked: bool = True) -> Iterator[None]:
    """This thread, and those it starts, before all others of their core; where only root may do that, as they are.

    Without it a load that shares its core with another one would measure how long it waits for that core.
    """
    try:
        if asked:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        asked = False
    try:
        yield
    finally:
        if asked:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
