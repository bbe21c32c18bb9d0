"""Runs Slurm's programs: no shell, an environment of its own, an end to every wait."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from thermogate.core.errors import UnavailableError
from thermogate.schedulers.adapter import ActionError
from thermogate.schedulers.slurm.settings import SlurmSettings

PROGRAMS = ("scontrol", "squeue", "sinfo", "scancel")
_OURS = ("SLURM_", "SQUEUE_", "SINFO_", "SCANCEL_", "SCONTROL_")
"""Variables that change what they print and do."""
_MOST_TOLD = 500


class RefusedError(ActionError):
    """A program of Slurm ended with an error; `said` is what it said."""

    def __init__(self, text: str, said: str) -> None:
        super().__init__(text)
        self.said = said


class Runner(Protocol):
    """What runs them."""

    async def run(self, *argv: str) -> str:
        """What a program printed. Raises RefusedError when it failed, ActionError when it did not answer."""
        ...


class Programs:
    """Implements Runner with the programs of this machine."""

    def __init__(self, settings: SlurmSettings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ

    def check(self) -> None:
        """Raises UnavailableError where one is not there: its folder may be a mount that comes later."""
        for name in PROGRAMS:
            if self._find(name) is None:
                where = self._settings.bin_dir or "$PATH"
                raise UnavailableError(
                    f"{name} is not in {where}: install Slurm's commands (slurm-client), or set "
                    "schedulers.slurm.bin_dir"
                )

    async def run(self, *argv: str) -> str:
        """What it printed."""
        path = self._find(argv[0])
        if path is None:
            raise ActionError(f"{argv[0]} is not there any more")
        try:
            process = await asyncio.create_subprocess_exec(
                path,
                *argv[1:],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._env(),
            )
        except OSError as err:
            raise ActionError(f"{path}: cannot be started: {err.strerror}") from err
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                out, said = await process.communicate()
        except TimeoutError:
            raise ActionError(
                f"{argv[0]} did not answer within {self._settings.timeout_s:g} s (schedulers.slurm.timeout_s)"
            ) from None
        finally:
            await _end(process)
        if process.returncode != 0:
            text = " ".join(said.decode(errors="replace").split())[:_MOST_TOLD]
            raise RefusedError(f"{' '.join(argv[:3])}: {text or f'exit status {process.returncode}'}", text)
        return out.decode(errors="replace")

    def _find(self, name: str) -> str | None:
        folders = (
            [self._settings.bin_dir]
            if self._settings.bin_dir
            else self._environ.get("PATH", os.defpath).split(":")
        )
        found = (Path(folder) / name for folder in folders if folder)
        return next((str(path) for path in found if os.access(path, os.X_OK)), None)

    def _env(self) -> dict[str, str]:
        kept = {name: text for name, text in self._environ.items() if not name.startswith(_OURS)}
        conf = self._settings.conf or self._environ.get("SLURM_CONF", "")
        return kept | {"LC_ALL": "C.UTF-8", "TZ": "UTC"} | ({"SLURM_CONF": conf} if conf else {})


async def _end(process: asyncio.subprocess.Process) -> None:
    """Whatever happened, it is no more."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
