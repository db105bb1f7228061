"""Fixtures for the CNI door."""

from collections.abc import AsyncIterator

import pytest
from cni_door import Door

from carrick.engine.values import CreateNetwork
from carrick.model.networks import PoolConfig


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    found = Door()
    await found.engine.networks.create(
        CreateNetwork("shop", pools=(PoolConfig("10.9.0.0/24", gateway="10.9.0.1"),))
    )
    yield found
    await found.engine.close()
