"""Whether the service's user will find the program where it is installed."""

import importlib.util
import os
import re
import stat
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

from thermogate.cli.checks import people
from thermogate.cli.layout import USER
from thermogate.core.errors import ConfigError

_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - no file is made there
"""What ProtectHome= and PrivateTmp= of the unit hide."""
_PACKAGES = ("thermogate.core", "thermogate.agent", "thermogate.cli", "msgspec", "paho", "psutil", "pynvml")
_CURE = (
    "install thermogate where every user can read it, such as: sudo /usr/bin/python3 -m venv /opt/thermogate"
    " && sudo /opt/thermogate/bin/pip install 'thermogate[agent]'"
)


def program() -> Path:
    """The `thermogate` of this interpreter. Raises ConfigError when the service could not run it."""
    path = Path(sysconfig.get_path("scripts")) / "thermogate"
    if not path.is_file():
        raise ConfigError(f"there is no {path}: {_CURE}")
    if not re.fullmatch(r"[\w./+@-]+", str(path)):
        raise ConfigError(f"{path}: a service cannot be started from a path with such characters: {_CURE}")
    check([path, Path(sys.executable), Path(os.__file__), *_imported()])
    return path


def check(paths: Iterable[Path], hidden_roots: Sequence[str] = _HIDDEN) -> None:
    """Raise ConfigError for the first of `paths` that is hidden from the service or unreadable for it."""
    for path in paths:
        for place in (path.absolute(), path.resolve()):
            hidden = next((root for root in hidden_roots if place.is_relative_to(root)), None)
            if hidden:
                raise ConfigError(f"{place} is below {hidden}, which services do not see: {_CURE}")
            closed = _closed(place)
            if closed:
                raise ConfigError(f"{closed} is not readable for every user, so not for the service: {_CURE}")


def check_config(file: Path) -> None:
    """Raise ConfigError, with the cure, when the mode of `file` keeps the service's user from reading it."""
    found = people.access(file)
    user = people.service_user() or people.Person(USER, uid=-1)  # before the first install
    if found is not None and not people.may(user, found, people.READ):
        raise ConfigError(
            f"{found.text}: the user {USER} of the service may not read it:"
            f" chmod o+r {file} (secrets stand in files of their own)"
        )


def _closed(place: Path) -> Path | None:
    """The first part of the way to `place` that others than owner and group cannot pass or read."""
    for part in (*reversed(place.parents), place):
        mode = part.stat().st_mode
        needed = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        if not mode & needed:
            return part
    return None


def _imported() -> list[Path]:
    specs = [importlib.util.find_spec(name) for name in _PACKAGES]
    return [Path(spec.origin) for spec in specs if spec and spec.origin]
