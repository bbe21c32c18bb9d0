"""What systemd hears from a service."""

import asyncio
import os
import socket

import pytest

from tests.fakes import FakeClock
from thermogate.cli.notify import SystemdNotifier, to_journal


class Systemd:
    """The socket of a service manager."""

    def __init__(self, address):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self):
        """All messages since the last call, each a set of its lines."""
        messages = []
        while True:
            try:
                messages.append(set(self._socket.recv(4096).decode().split("\n")))
            except BlockingIOError:
                return messages

    def close(self):
        self._socket.close()


@pytest.fixture
def systemd(tmp_path):
    manager = Systemd(str(tmp_path / "notify"))
    yield manager
    manager.close()


def notifier(tmp_path, clock, *, period_s=1.0, address=None, **environ):
    environ = {"NOTIFY_SOCKET": address or str(tmp_path / "notify"), **environ}
    return SystemdNotifier(environ, clock, status=lambda: "sampling", period_s=period_s)


def test_the_first_sign_of_life_says_ready_and_no_other_does(systemd, tmp_path):
    clock = FakeClock()
    service = notifier(tmp_path, clock, WATCHDOG_USEC="30000000")
    assert systemd.heard() == []
    service.alive()
    assert systemd.heard() == [{"STATUS=sampling", "WATCHDOG=1", "READY=1"}]
    clock.pass_time(10)
    service.alive()
    assert systemd.heard() == [{"STATUS=sampling", "WATCHDOG=1"}]


def test_a_watchdog_is_fed_three_times_in_its_time_by_ticks_a_second_apart(systemd, tmp_path):
    clock = FakeClock()
    service = notifier(tmp_path, clock, WATCHDOG_USEC="12000000")
    for _ in range(13):
        service.alive()
        clock.pass_time(1)
    assert len(systemd.heard()) == 4  # at 0, 4, 8 and 12 s


def test_silence_feeds_nobody(systemd, tmp_path):
    clock = FakeClock()
    service = notifier(tmp_path, clock, WATCHDOG_USEC="3000000")
    service.alive()
    systemd.heard()
    clock.pass_time(60)
    assert systemd.heard() == []


def test_a_period_that_the_watchdog_would_not_survive_makes_it_longer(systemd, tmp_path):
    notifier(tmp_path, FakeClock(), period_s=60.0, WATCHDOG_USEC="30000000").alive()
    (said,) = systemd.heard()
    assert "WATCHDOG_USEC=180000000" in said


def test_a_watchdog_of_another_process_is_not_fed(systemd, tmp_path):
    environ = {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    notifier(tmp_path, FakeClock(), **environ).alive()
    assert systemd.heard() == [{"STATUS=sampling", "READY=1"}]


def test_ready_is_said_again_until_systemd_has_heard_it(tmp_path):
    service = notifier(tmp_path, FakeClock())
    service.alive()  # nobody listens, and nothing is raised
    late = Systemd(str(tmp_path / "notify"))
    service.alive()
    assert late.heard() == [{"STATUS=sampling", "READY=1"}]
    late.close()


def test_a_manager_that_does_not_read_holds_nobody_up(systemd, tmp_path):
    clock = FakeClock()
    service = notifier(tmp_path, clock)
    for _ in range(5000):  # far more than a socket holds
        service.alive()
        clock.pass_time(10)
    assert 0 < len(systemd.heard()) < 5000


def test_an_address_in_the_abstract_namespace_is_reached(tmp_path):
    name = f"thermogate-test-{os.getpid()}"
    manager = Systemd(f"\0{name}")
    notifier(tmp_path, FakeClock(), address=f"@{name}").alive()
    assert manager.heard() == [{"STATUS=sampling", "READY=1"}]
    manager.close()


async def test_a_stop_is_announced(systemd, tmp_path):
    stop = asyncio.Event()
    telling = asyncio.create_task(notifier(tmp_path, FakeClock()).stopping_at(stop))
    await asyncio.sleep(0)
    assert systemd.heard() == []
    stop.set()
    await telling
    (said,) = systemd.heard()
    assert "STOPPING=1" in said


def test_outside_systemd_nothing_is_said_or_asked():
    service = SystemdNotifier({}, FakeClock(), status=lambda: pytest.fail("asked"), period_s=1.0)
    service.alive()


def test_the_journal_is_known_by_standard_error_being_it():
    now = os.fstat(2)
    assert to_journal({"JOURNAL_STREAM": f"{now.st_dev}:{now.st_ino}"})
    assert not to_journal({"JOURNAL_STREAM": "1:1"})  # inherited, with the error output led elsewhere
    assert not to_journal({})


async def test_a_beating_service_feeds_its_watchdog_for_as_long_as_its_loop_runs(systemd, tmp_path):
    clock = FakeClock()
    service = notifier(tmp_path, clock, WATCHDOG_USEC="3000000")
    beating = asyncio.create_task(service.beat())
    await clock.advance(3.0)
    said = systemd.heard()
    assert "READY=1" in said[0]
    assert len([one for one in said if "WATCHDOG=1" in one]) == 4
    clock.pass_time(30)  # and nobody ran
    assert systemd.heard() == []
    beating.cancel()


async def test_how_a_service_ends_is_its_own_to_say(systemd, tmp_path):
    stop = asyncio.Event()
    stop.set()
    await notifier(tmp_path, FakeClock()).stopping_at(stop, "storing what has come")
    assert systemd.heard() == [{"STOPPING=1", "STATUS=storing what has come"}]
