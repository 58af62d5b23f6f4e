"""Rigs with a lane, and the ends of a topic on one."""

from collections.abc import Callable

import pytest

from fastfan import Topic
from tests.support.engine import Rig
from tests.support.lane import LANE, Ends


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(lane_bytes=LANE)


@pytest.fixture
def topic(rig: Rig) -> Topic:
    return rig.engine.topic("/lane")


@pytest.fixture
def ends(rig: Rig, topic: Topic) -> Ends:
    return Ends(rig, topic)
