"""How many rows there are of simulated devices, asked of the database itself and not through our store."""

import json
import time
import urllib.parse
import urllib.request

_TIMEOUT_S = 120.0
_DAY_S = 86_400


def influx_rows(url: str, field: str) -> int:
    """Points with this field in the default database of the collector."""
    form = urllib.parse.urlencode(
        {"db": "thermogate", "q": f"SELECT count(\"{field}\") FROM gpu, cpu WHERE origin = 'simulated'"}
    )
    with urllib.request.urlopen(f"{url}/query?{form}", timeout=_TIMEOUT_S) as response:
        answer = json.load(response)
    series = [one for result in answer["results"] for one in result.get("series", [])]
    return sum(row[1] for one in series for row in one["values"])


def victoria_rows(url: str, field: str, *, copies: bool = False) -> int:
    """Values of this field that the server exports; with `copies` those too that its deduplication hides."""
    now_s = int(time.time())
    form = {
        "match[]": f'{{__name__=~"(gpu|cpu)_{field}",origin="simulated"}}',
        "start": now_s - _DAY_S,
        "end": now_s + _DAY_S,
        **({"reduce_mem_usage": 1} if copies else {}),
    }
    address = f"{url}/api/v1/export?{urllib.parse.urlencode(form)}"
    with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as response:
        return sum(len(json.loads(line)["values"]) for line in response)
