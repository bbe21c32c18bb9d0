"""The agent as a process, with a driver, sensors, a broker and a collector: nothing of it grows."""

from typing import NamedTuple

import pytest

from benchmarks import stub_node, usage
from tests.servers import binary

pytestmark = pytest.mark.integration

WARM_UP, TICKS = 600, 2400
MOST_BYTES_PER_TICK = 700
"""A leak of one message a tick would be 5,000; the allocator settles with 100 to 200."""
THREAD_BYTES = 2**20
"""What a new thread may take: its stack, and a heap of its own."""


@pytest.fixture
def node(tmp_path):
    binary("mosquitto")
    settings = ("agent.period_s=0.005", "agent.selfstats_interval_s=0.05", "agent.budget.cpu_ratio=10")
    with (
        stub_node.Hardware(tmp_path / "hardware") as hardware,
        stub_node.broker(tmp_path / "broker") as url,
        stub_node.Collector(url) as collector,
        stub_node.agent(tmp_path / "agent", url, hardware, *settings) as process,
    ):
        stub_node.wait_for_messages(collector, 1, process, tmp_path / "agent")
        yield process, collector, tmp_path / "agent"


def test_memory_threads_and_files_stay_as_they_are_over_thousands_of_ticks(node):
    process, collector, folder = node
    stub_node.wait_for_messages(collector, WARM_UP, process, folder)
    before = size(process.pid)
    stub_node.wait_for_messages(collector, WARM_UP + TICKS, process, folder, limit_s=300)
    after = size(process.pid)
    threads = after.threads - before.threads
    assert threads <= stub_node.GPUS, "one for each GPU that was slow"
    assert after.files <= before.files + 2
    assert after.private_bytes - before.private_bytes < MOST_BYTES_PER_TICK * TICKS + threads * THREAD_BYTES


class Size(NamedTuple):
    private_bytes: float
    threads: int
    files: int


def size(pid):
    return Size(usage.memory(pid).private_mib * 2**20, usage.threads(pid), usage.files(pid))
