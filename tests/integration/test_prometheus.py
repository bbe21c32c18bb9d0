"""A real Prometheus reads a real dashboard over a real store, as configured in grafana/prometheus.yml."""

import json
import re
from pathlib import Path

import pytest

from tests.integration.scraping import NODES, Asking, scraped

pytestmark = pytest.mark.integration

_BOARDS = json.loads((Path(__file__).parents[1] / "recordings/dcgm_boards/queries.json").read_text())


def substituted(query: str, **variables: str) -> str:
    for name, value in variables.items():
        query = query.replace(f"${name}", value)
    return query


async def test_a_real_prometheus_has_it_and_loses_what_falls_silent(tmp_path: Path) -> None:
    async with scraped(tmp_path) as (asking, feeding):
        assert await asking.values("thermogate_gpu_power_watts", "node") == set(NODES)
        assert await asking.values('thermogate_gpu_power_watts{origin="replay"}', "node") == {"sim-1"}
        assert len(await asking.series('thermogate_gpu_power_watts{origin=""}')) == 4
        assert set((await asking.series("thermogate_collector_samples_total")).values()) == {7}
        (gate,) = await asking.series('thermogate_gate_state{target="n1"} == 1')
        assert dict(gate)["state"] == "HOLD"

        for revision in _BOARDS.values():
            await _board_is_served(asking, revision)
        assert await asking.values("DCGM_FI_DEV_GPU_TEMP", "modelName") == {"RTX 3060 Ti"}

        feeding.silent.add(("n2", "1"))
        await asking.until("thermogate_gpu_temp_celsius", lambda found: len(found) == 5)
        # gone, not looked back to for the five minutes that Prometheus would
        assert await asking.series('thermogate_gpu_power_watts{node="n2",device="1"}') == {}
        assert await asking.series('DCGM_FI_DEV_POWER_USAGE{Hostname="n2",gpu="1"}') == {}
        stale = 'thermogate_device_state{node="n2",device="1",state="stale"} == 1'
        assert len(await asking.series(stale)) == 1
        assert await asking.series('thermogate_device_state{node="n2",device="1",state="ok"}') == {}

        feeding.silent.clear()
        await asking.until("thermogate_gpu_temp_celsius", lambda found: len(found) == 6)


async def _board_is_served(asking: Asking, revision: dict[str, list[str]]) -> None:
    """Every query of the board but those of DCGM's profiling, with its variables at All."""
    instances, gpus = [await _variable(asking, query) for query in revision["variables"]]
    assert instances == set(NODES)
    assert gpus == {"0", "1"}
    given = {"instance": "|".join(instances), "Hostname": "|".join(instances), "gpu": "|".join(gpus)}
    empty = [q for q in revision["panels"] if not await asking.series(substituted(q, **given))]
    assert empty == [query for query in revision["panels"] if "DCGM_FI_PROF_" in query]


async def _variable(asking: Asking, query: str) -> set[str]:
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert match
    return await asking.values(substituted(match[1], Hostname=".*"), match[2])
