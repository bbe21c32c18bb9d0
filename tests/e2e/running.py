"""Runs the installed `thermogate` as its users do: as a process."""

import contextlib
import csv
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

THERMOGATE = str(Path(sys.executable).with_name("thermogate"))
RECORDINGS = Path(__file__).parents[1] / "recordings" / "rle_sessions"
START_S = 90.0


class Up:
    """A running `thermogate up`."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def url(self) -> str:
        return self.wait_for(r"page +(http://\S+)")

    @property
    def broker_url(self) -> str:
        return self.wait_for(r"(mqtt://[^\s()]+)")

    def wait_for(self, pattern: str) -> str:
        """The first group of `pattern` in what was said, as soon as it is there."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if match := re.search(pattern, self.said):
                return match[1]
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.said}"
            time.sleep(0.05)
        raise AssertionError(f"never said {pattern}:\n{self.said}")

    def get(self, path: str):
        with urllib.request.urlopen(f"{self.url.rstrip('/')}/api/v1/{path}", timeout=10) as response:
            return json.load(response)

    def until(self, true, what: str, seconds: float = 30.0):
        """The first result of `true()` that is."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if result := true():
                return result
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.said}"
            time.sleep(0.05)
        raise AssertionError(f"never: {what}\n{self.said}")

    def stop(self) -> float:
        """Ctrl-C; seconds until it has ended. Fails when it did not end well."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(20) == 0, self.said
        return time.monotonic() - began

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


def command(*arguments: str, data_dir: Path | None = None) -> list[str]:
    given = ["--data-dir", str(data_dir)] if data_dir else []
    return [THERMOGATE, *arguments, *given]


@contextlib.contextmanager
def up(data_dir: Path, *arguments: str) -> Iterator[Up]:
    """`thermogate up` on free ports."""
    log = data_dir.with_suffix(".log")
    listen = ("--listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0")
    with log.open("w") as out:
        process = subprocess.Popen(
            command("up", *listen, *arguments, data_dir=data_dir),
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield Up(process, log)
        finally:
            process.kill()
            process.wait(10)


def run(*arguments: str, data_dir: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    return subprocess.run(
        command(*arguments, data_dir=data_dir), capture_output=True, text=True, timeout=60, check=False
    )


def export(data_dir: Path, *arguments: str) -> list[dict[str, str]]:
    """Rows of `thermogate export`."""
    done = run("export", "--format", "csv", *arguments, data_dir=data_dir)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(done.stdout.splitlines()))


def recorded(name: str) -> list[dict[str, str]]:
    """Rows of a recording that can be played."""
    with (RECORDINGS / name).open() as file:
        return list(csv.DictReader(file))
