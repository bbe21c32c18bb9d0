"""Line protocol into a database with nothing in between: the best that there is to reach."""

import asyncio
import time
from collections.abc import Iterator, Sequence

import aiohttp

_MESSAGES = 1000
"""9,000 lines a write: databases are told to be best at 5,000 to 10,000."""
_CONNECTIONS = 2
_DATABASE = "raw"
_ATTEMPTS = 20


def write_raw(url: str, payloads: Sequence[bytes]) -> float:
    """Messages a second, from the first write until the last answer."""
    return asyncio.run(_write(url, payloads))


async def _write(url: str, payloads: Sequence[bytes]) -> float:
    async with aiohttp.ClientSession() as session:
        create = {"q": f"CREATE DATABASE {_DATABASE} WITH DURATION 720h"}
        async with session.post(f"{url}/query", data=create):
            pass  # a database that makes its own says what it likes
        batches = iter([payloads[at : at + _MESSAGES] for at in range(0, len(payloads), _MESSAGES)])
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(_CONNECTIONS):
                group.create_task(_in_turn(session, url, batches))
        return len(payloads) / (time.monotonic() - began_s)


async def _in_turn(session: aiohttp.ClientSession, url: str, batches: Iterator[Sequence[bytes]]) -> None:
    params = {"db": _DATABASE, "precision": "ns"}
    for batch in batches:
        body = b"".join(batch)
        for _ in range(_ATTEMPTS):
            async with session.post(f"{url}/write", params=params, data=body) as answer:
                if answer.status == 204:
                    break
                if answer.status not in (500, 503):
                    raise SystemExit(f"{url}: {answer.status} {await answer.text()}")
            await asyncio.sleep(0.5)  # it is overloaded, and says so to the collector too
