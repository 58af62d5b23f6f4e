"""What several tests of faults begin with."""

import random
from collections.abc import AsyncIterator

import pytest

from tests.support.server import Scene, serving


@pytest.fixture
def random_() -> random.Random:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    return random.Random(seed)


@pytest.fixture(params=[True, False], ids=["lane", "no lane"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with serving(lane=request.param) as scene:
        yield scene
