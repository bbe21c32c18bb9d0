"""The gate, running, with its keys and its audit log in a folder."""

import asyncio
import contextlib

from thermogate.analytics.app import Analytics
from thermogate.analytics.audit import AuditLog, recent
from thermogate.analytics.config import AnalyticsSettings, GateSettings, ModeSettings
from thermogate.core.clock import NS, SystemClock
from thermogate.core.keyring import ensure_keys
from thermogate.core.mqtt import MqttSettings
from thermogate.core.signing import TrustedKeys

FAST = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.2}
GATE = {"ttl_s": 60.0, "renew_share": 0.01, "dwell_s": 0.3, "silent_s": 0.4, "tick_s": 0.1}
"""The wall clock runs faster in tests; the thresholds of policies keep to the stamps of the samples."""
OFF = dict.fromkeys(ModeSettings.__struct_fields__, "off")


@contextlib.asynccontextmanager
async def gate(url, folder, *, past=None, disk=lambda log: log, gate=None, modes=None, **settings):
    """The gate; stopped and waited for at the end. Policies that are not named are off.

    `disk` may stand between the gate and its audit log.
    """
    given = AnalyticsSettings(
        gate=GateSettings(**{**GATE, **(gate or {})}),
        modes=ModeSettings(**{**OFF, **(modes or {"thermal": "shadow", "hardware": "shadow"})}),
        **settings,
    )
    clock = SystemClock()
    key, trusted_file = ensure_keys(folder / "keys")
    trusted = TrustedKeys.load(trusted_file)
    with AuditLog(folder / "audit", key, given.audit, trusted=trusted, clock=clock) as audit:
        recorded = recent(folder / "audit", clock.utc_ns() - 3600 * NS)
        mqtt = MqttSettings(url=url, **FAST)
        service = Analytics(
            given,
            mqtt,
            clock,
            key=key,
            trusted=trusted,
            audit=disk(audit),
            past=past,
            recorded=recorded,
            spoken=folder / "words.json",
        )
        stop = asyncio.Event()
        task = asyncio.create_task(service.run(stop))
        try:
            yield service
        finally:
            stop.set()
            await asyncio.wait_for(task, 10)
