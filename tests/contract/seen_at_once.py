"""VictoriaMetrics without the second or two that a write takes to be seen."""

import aiohttp

from thermogate.collector.store.base import Batch, Settling
from thermogate.collector.store.victoria import VictoriaStore


class SeenAtOnce(VictoriaStore):
    """What was written is found by the next question, as the contract suite expects."""

    async def write(self, batch: Batch) -> Settling | None:
        settling = await super().write(batch)
        url = f"{self._settings.url}/internal/force_flush"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            response.raise_for_status()
        return settling
