"""What the agent's process loads: a node stays light."""

import subprocess
import sys

HEAVY = {
    "aiohttp",
    "cryptography",
    "duckdb",
    "email.mime",
    "http.server",
    "iotcore",
    "multiprocessing",
    "numpy",
    "playwright",
    "plotly",
    "sqlite3",
    "unittest",
    "xml",
}

PROGRAM = """
import sys
from thermogate.cli.main import _parser
_parser(["agent"])
print("\\n".join(sys.modules))
"""


def test_the_agent_loads_no_library_that_it_does_not_need():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "thermogate.agent.app" in loaded
    assert not loaded & HEAVY
