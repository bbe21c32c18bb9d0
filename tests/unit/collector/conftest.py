"""What the tests of InfluxDB's interfaces speak to."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.collector.recorder import Recorder


@pytest.fixture
async def server() -> AsyncIterator[Recorder]:
    """A server that records what it is sent."""
    recorder = Recorder()
    async with recorder.server:
        yield recorder
