"""Secrets that systemd hands to a service: files named after the setting whose file they are.

`LoadCredential=mqtt.password_file:/etc/thermogate/credentials/mqtt.password_file` sets
mqtt.password_file to the service's own copy, which nobody else can read. Works from systemd 247 on.
"""

from collections.abc import Mapping
from pathlib import Path

from thermogate.core.errors import ConfigError


def as_sets(environ: Mapping[str, str]) -> list[str]:
    """The credentials in $CREDENTIALS_DIRECTORY as `section.key=path`; [] outside a service.

    Raises ConfigError for one that is not named like a setting that is a file.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return []
    try:
        names = sorted(path.name for path in Path(folder).iterdir())
    except OSError as err:
        raise ConfigError(f"cannot read credentials in {folder}: {err.strerror}") from err
    for name in names:
        if not name.endswith("_file"):
            raise ConfigError(
                f"credential {name}: expected the name of a setting that is a file, as mqtt.password_file"
            )
    return [f"{name}={folder}/{name}" for name in names]
