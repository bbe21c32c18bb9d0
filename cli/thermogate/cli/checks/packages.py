"""Is what is installed whole, and nothing in its way?"""

import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata

from thermogate.cli.checks.finding import Finding, fail, ok, warn
from thermogate.core import __version__

OLDEST = (3, 11)
DEPRECATED = "pynvml"


def look() -> dict[str, str | None]:
    """Versions of the packages that an agent needs, and of the one that it must not have; None: not there."""
    return {name: _version(name) for name in (*_needed(), DEPRECATED)}


def judge(found: Mapping[str, str | None], python: tuple[int, ...] = sys.version_info[:3]) -> list[Finding]:
    """Python, and the packages beside it."""
    return [_python(python), _packages(found)]


def _python(python: tuple[int, ...]) -> Finding:
    text = f"thermogate {__version__}, Python {'.'.join(map(str, python))}, {platform.machine()}"
    if python >= OLDEST:
        return ok("installation.python", text)
    cure = "make a new environment with a newer one: python3.11 -m venv /opt/thermogate"
    return fail("installation.python", text, "thermogate needs Python 3.11 or newer", cure)


def _packages(found: Mapping[str, str | None]) -> Finding:
    check = "installation.packages"
    needed = {name: version for name, version in found.items() if name != DEPRECATED}
    text = ", ".join(f"{name} {version}" for name, version in needed.items() if version)
    pip = f"{sys.executable} -m pip"
    missing = [name for name, version in needed.items() if version is None]
    if missing:
        cure = f"{pip} install 'thermogate[agent]'"
        return fail(check, text, f"not installed here: {', '.join(missing)}", cure)
    if found.get(DEPRECATED):
        cause = (
            f"the deprecated package {DEPRECATED} {found[DEPRECATED]} lies beside nvidia-ml-py,"
            " whose module it hides: readings may be missing or wrong"
        )
        cure = f"{pip} uninstall -y {DEPRECATED} && {pip} install --force-reinstall nvidia-ml-py"
        return warn(check, text, cause, cure)
    return ok(check, text)


def _needed() -> list[str]:
    """Of thermogate's own requirements those of any part and of the agent."""
    names = []
    for requirement in metadata.requires("thermogate") or []:
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        if extra is None or extra[1] == "agent":
            names.append(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
    return names


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
