"""The client and the shell line of docs/schedulers.md, run as they stand there."""

import asyncio
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.gatekeeper import gatekeeper
from tests.servers import binary, mosquitto

pytestmark = pytest.mark.integration

NODE = ("node", "n17")
DOCS = (Path(__file__).parents[2] / "docs" / "schedulers.md").read_text()


def shown(language):
    (code,) = re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
    return code


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path) as url:
        yield url


async def started(*command, **environ):
    return await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environ}, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )


async def test_the_ten_lines_of_python_run_and_end_when_held(broker, tmp_path):
    assert len(shown("python").splitlines()) == 10
    async with gatekeeper(broker, tmp_path) as gate:
        client = await started(
            sys.executable, "-c", shown("python"), BROKER=broker, TRUST=str(tmp_path / "trusted")
        )
        assert await asyncio.wait_for(client.stdout.readline(), 30) == b"run at 1.0\n"
        await gate.say(NODE, "RUN", 0.8)
        assert await asyncio.wait_for(client.stdout.readline(), 30) == b"run at 0.8\n"
        await gate.say(NODE, "HOLD", 0.5)
        assert (await asyncio.wait_for(client.stdout.readline(), 30)).startswith(
            b"held, pace 0.5 because gpu0 is"
        )
        assert await asyncio.wait_for(client.wait(), 30) == 75


async def test_the_line_of_shell_shows_what_is_in_force(broker, tmp_path):
    binary("mosquitto_sub"), binary("jq")
    url = urlsplit(broker)
    async with gatekeeper(broker, tmp_path) as gate:
        await gate.say(("node", "n16"), "HOLD", mode="shadow")
        await gate.say(("node", "n18"), "HOLD", for_s=-1.0)
        await gate.say(NODE, "HOLD", 0.5)
        line = await started("sh", "-c", shown("sh"), HOST=url.hostname, PORT=str(url.port))
        said = await asyncio.wait_for(line.stdout.readline(), 30)
        assert said.startswith(b'n17 HOLD 0.5 "gpu0 is 3 C')
        os.killpg(line.pid, 15)
        await line.wait()
