"""How long a newcomer waits: from `make up` in a fresh clone to a page that answers, downloads included.

Prints one JSON object: {"page_s", "install_mib"}. Times depend on the network and the machine.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT_S = 600.0


def main() -> None:
    """Clone, run, wait for the page, stop."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "thermogate"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        log = Path(folder) / "log"
        environment = {**os.environ, "XDG_DATA_HOME": f"{folder}/data", "PIP_NO_CACHE_DIR": "1"}
        began_s = time.monotonic()
        with log.open("w") as out:
            process = subprocess.Popen(
                ["make", "up", "ARGS=--listen 127.0.0.1:0 --mqtt-listen 127.0.0.1:0"],
                cwd=clone,
                env=environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            with urllib.request.urlopen(wait_for_url(process, log, began_s)) as page:
                assert b"thermogate" in page.read()
            page_s = time.monotonic() - began_s
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)
        size = sum(file.stat().st_size for file in (clone / ".venv").rglob("*") if file.is_file())
    print(f"{page_s:.1f} s from `make up` to a page; the environment takes {size / 2**20:.0f} MiB")
    print(json.dumps({"page_s": round(page_s, 1), "install_mib": round(size / 2**20)}))


def wait_for_url(process: subprocess.Popen[bytes], log: Path, began_s: float) -> str:
    """The page's address, once `up` has printed it."""
    while time.monotonic() - began_s < LIMIT_S:
        if found := re.search(r"page +(http://\S+)", log.read_text()):
            return found[1]
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


if __name__ == "__main__":
    main()
