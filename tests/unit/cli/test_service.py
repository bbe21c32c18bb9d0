import asyncio
import os
import signal

import pytest

from thermogate.cli import service
from thermogate.core.errors import ConfigError, UnavailableError


def test_a_service_stops_after_its_time():
    seen = []

    async def main(stop):
        await stop.wait()
        seen.append("stopped")

    assert service.serve(main, for_s=0.01) == 0
    assert seen == ["stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_service_cleanly(number):
    async def main(stop):
        os.kill(os.getpid(), number)
        await stop.wait()

    assert service.serve(main) == 0


def test_the_first_error_that_speaks_to_people_is_raised_out_of_nested_groups():
    async def fail(err):
        raise err

    async def main(stop):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(UnavailableError("the port is taken")))

    with pytest.raises(UnavailableError, match="the port is taken"):
        service.serve(main)
    inner = ExceptionGroup("inner", [ValueError("x"), ConfigError("bad key")])
    assert str(service.first_cause(ExceptionGroup("outer", [KeyError("y"), inner]))) == "bad key"
