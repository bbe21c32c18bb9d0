"""Where an installed agent keeps what on a machine."""

import os
from importlib import resources
from pathlib import Path

UNIT = "thermogate-agent.service"
USER = "thermogate"
GECOS = "thermogate agent"
SHIPPED_PROGRAM = "/opt/thermogate/bin/thermogate"
"""The program in the unit as it is shipped."""


class Layout:
    """Paths below `root`, which is another than / in tests only."""

    def __init__(self, root: Path = Path("/")) -> None:
        etc = root / "etc"
        self.unit = etc / "systemd/system" / UNIT
        self.drop_ins = etc / "systemd/system" / f"{UNIT}.d"
        self.credentials_drop_in = self.drop_ins / "10-credentials.conf"
        self.udev_rule = etc / "udev/rules.d/70-thermogate.rules"
        self.passwd = etc / "passwd"
        self.folder = etc / "thermogate"
        self.config = self.folder / "thermogate.toml"
        self.credentials = self.folder / "credentials"
        self.state = root / "var/lib/thermogate"
        self.systemd = root / "run/systemd/system"
        self.root = root
        self.processes = root / "proc"
        self._powercap = root / "sys/class/powercap"

    def others(self) -> list[str]:
        """Other thermogate units on this machine, which share the configuration."""
        return sorted(
            path.name for path in self.unit.parent.glob("thermogate-*.service") if path != self.unit
        )

    def account(self) -> list[str]:
        """The entry of the user in passwd, if it is one of `install`'s making; [] otherwise."""
        entries = (line.split(":") for line in self.passwd.read_text(encoding="utf-8").splitlines())
        return next((entry for entry in entries if entry[0] == USER and entry[4] == GECOS), [])

    def processes_of(self, uid: str) -> list[int]:
        """Those that keep `userdel` from removing this user: of a container that has the number, none."""
        here = self.root.stat()
        return sorted(
            int(folder.name)
            for folder in self.processes.glob("[0-9]*")
            if uid in _uids(folder) and _is_in(here, folder)
        )

    def energy_counters(self) -> list[Path]:
        """RAPL's counters, which the kernel keeps for root."""
        return sorted(self._powercap.glob("*/energy_uj"))


def _uids(process: Path) -> list[str]:
    """Real, effective, saved and of file access; [] when it has ended."""
    try:
        status = (process / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return next((line.split()[1:] for line in status.splitlines() if line.startswith("Uid:")), [])


def _is_in(root: os.stat_result, process: Path) -> bool:
    try:
        return os.path.samestat(root, (process / "root").stat())
    except OSError:
        return False


def shipped(name: str) -> Path:
    """A file of systemd/ as this version ships it."""
    with resources.as_file(resources.files("thermogate.cli").joinpath("units", name)) as path:
        return path


def unit_text(program: Path) -> str:
    """The shipped unit, starting `program`."""
    return shipped(UNIT).read_text(encoding="utf-8").replace(SHIPPED_PROGRAM, str(program))
