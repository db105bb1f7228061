"""The plugin's server with an engine in memory."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from docker_side import Docker


@pytest.fixture
async def docker() -> AsyncIterator[Docker]:
    with tempfile.TemporaryDirectory() as directory:
        docker = Docker(Path(directory))
        await docker.start()
        yield docker
        await docker.stop()
        await docker.engine.close()
