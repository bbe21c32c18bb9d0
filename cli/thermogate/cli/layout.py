"""Where an installed agent keeps what on a machine."""

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
        self._powercap = root / "sys/class/powercap"

    def others(self) -> list[str]:
        """Other thermogate units on this machine, which share the configuration."""
        return sorted(
            path.name for path in self.unit.parent.glob("thermogate-*.service") if path != self.unit
        )

    def energy_counters(self) -> list[Path]:
        """RAPL's counters, which the kernel keeps for root."""
        return sorted(self._powercap.glob("*/energy_uj"))


def shipped(name: str) -> Path:
    """A file of systemd/ as this version ships it."""
    with resources.as_file(resources.files("thermogate.cli").joinpath("units", name)) as path:
        return path


def unit_text(program: Path) -> str:
    """The shipped unit, starting `program`."""
    return shipped(UNIT).read_text(encoding="utf-8").replace(SHIPPED_PROGRAM, str(program))
