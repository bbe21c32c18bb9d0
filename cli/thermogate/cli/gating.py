"""The gate as a process or `up` composes it: its keys, its audit log and what it remembers from the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from thermogate.analytics.app import Analytics
from thermogate.analytics.audit import AuditLog, recent
from thermogate.analytics.recall import Past
from thermogate.cli.settings import ThermogateSettings
from thermogate.core.clock import NS, Clock
from thermogate.core.keyring import ensure_keys
from thermogate.core.mqtt import MqttSettings
from thermogate.core.signing import TrustedKeys

AUDIT, KEYS = "audit", "keys"
"""Folders below the data folder; each of several shards has a folder of its own for the first."""
_REMEMBERED_NS = 3600 * NS
"""`gate.eased_most_count` is of an hour."""


def modes(loaded: ThermogateSettings) -> str:
    """What policies may do, for a person: "enforce thermal; shadow hardware, cooling"."""
    by_mode: dict[str, list[str]] = {"enforce": [], "shadow": []}
    for name, mode in msgspec.structs.asdict(loaded.analytics.modes).items():
        by_mode.setdefault(mode, []).append(name)
    told = [f"{mode} {', '.join(by_mode[mode])}" for mode in ("enforce", "shadow") if by_mode[mode]]
    return "; ".join(told) or "every policy is off"


@contextmanager
def analytics(
    loaded: ThermogateSettings, mqtt: MqttSettings, data_dir: Path, past: Past | None, clock: Clock
) -> Iterator[Analytics]:
    """The gate, ready to run, its audit log open.

    Raises ConfigError for keys that will not do, UnavailableError when the audit log cannot be opened.
    """
    settings = loaded.analytics
    key_file = Path(settings.key_file) if settings.key_file else None
    trusted_file = Path(settings.trusted_file) if settings.trusted_file else None
    key, found = ensure_keys(data_dir / KEYS, key_file, trusted_file)
    trusted = TrustedKeys.load(found)
    own_dir = data_dir / settings.shard.replace("/", "-of-") if settings.part[1] > 1 else data_dir
    own_dir.mkdir(parents=True, exist_ok=True)
    with AuditLog(own_dir / AUDIT, key, settings.audit, trusted=trusted, clock=clock) as audit:
        recorded = recent(own_dir / AUDIT, clock.utc_ns() - _REMEMBERED_NS)
        yield Analytics(
            settings,
            mqtt,
            clock,
            key=key,
            trusted=trusted,
            audit=audit,
            past=past,
            recorded=recorded,
            memory=own_dir / "baselines.json",
            spoken=own_dir / "words.json",
        )
