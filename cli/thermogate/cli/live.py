"""The sensors of this machine, as the agent reads them."""

import socket

from thermogate.agent.config import AgentSettings
from thermogate.agent.sampler import Sampler
from thermogate.agent.sources.amd import AmdSource
from thermogate.agent.sources.base import Source
from thermogate.agent.sources.cpu import CpuSource
from thermogate.agent.sources.node import NodeSource
from thermogate.agent.sources.nvidia import NvidiaSource
from thermogate.core.clock import Clock
from thermogate.core.wire import to_name


def sampler(settings: AgentSettings, clock: Clock) -> Sampler:
    """Every source there is; which of them finds something shows when it is opened."""
    sources: list[Source] = [
        NvidiaSource(settings.nvidia, settings.host, clock),
        AmdSource(settings.amd, settings.host, clock),
        CpuSource(settings.cpu, settings.host, clock),
        NodeSource(settings.host, clock),
    ]
    return Sampler(
        node_name(settings), sources, period_s=settings.period_s, clock=clock, settings=settings.sampler
    )


def node_name(settings: AgentSettings) -> str:
    """The node's name on the wire: the setting, else the host's name."""
    return to_name(settings.node or socket.gethostname())
