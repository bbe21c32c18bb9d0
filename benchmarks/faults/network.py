"""A network between the agents and everything else, in namespaces, that can be cut without a word.

The agents' namespace reaches this machine through a router, a namespace of its own. When it stops to forward,
packets vanish: no side sees its link go down, and nobody is told. Needs root.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator

from benchmarks.faults.skip import SkippedError


class Network:
    """`wrap` commands to run them among the agents; `address` is this machine as they see it."""

    def __init__(self, number: int) -> None:
        self._agents, self._router = f"tg-agents-{number}", f"tg-router-{number}"
        self._near, self._far = f"tgn{number % 100_000}", f"tgf{number % 100_000}"
        self._subnet = f"10.213.{number % 256}"
        self.address = f"{self._subnet}.1"

    def make(self) -> None:
        """Raises SkippedError where this machine does not allow it."""
        if os.geteuid() != 0:
            raise SkippedError("network namespaces need root")
        try:
            for command in self._commands():
                _run(command)
            _run(self.wrap(["ping", "-c", "1", "-W", "5", self.address]) if _has_ping() else ["true"])
        except (OSError, subprocess.CalledProcessError) as err:
            self.remove()
            raise SkippedError(f"no network namespaces here: {err}") from err

    def remove(self) -> None:
        """Let go of what `make` made, whatever of it there is; the links go with the namespaces."""
        for name in (self._agents, self._router):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def wrap(self, command: list[str]) -> list[str]:
        """The command, to be run among the agents."""
        return ["ip", "netns", "exec", self._agents, *command]

    def cut(self) -> None:
        """From now on packets vanish."""
        self._forward(0)

    def mend(self) -> None:
        """Packets pass again."""
        self._forward(1)

    def _forward(self, on: int) -> None:
        path = "/proc/sys/net/ipv4/ip_forward"
        _run(["ip", "netns", "exec", self._router, "sh", "-c", f"echo {on} > {path}"])

    def _commands(self) -> Iterator[list[str]]:
        near, far, router, agents = self._near, self._far, self._router, self._agents
        for name in (agents, router):
            yield ["ip", "netns", "add", name]
        yield ["ip", "link", "add", near, "type", "veth", "peer", "name", "near", "netns", router]
        yield ["ip", "-n", router, "link", "add", "far", "type", "veth", "peer", "name", far, "netns", agents]
        places = ((None, near, 1), (router, "near", 2), (router, "far", 5), (agents, far, 6))
        for name, link, host in places:
            inside = [] if name is None else ["-n", name]
            yield ["ip", *inside, "address", "add", f"{self._subnet}.{host}/30", "dev", link]
            yield ["ip", *inside, "link", "set", link, "up"]
        yield ["ip", "route", "add", f"{self._subnet}.4/30", "via", f"{self._subnet}.2"]
        yield ["ip", "-n", agents, "route", "add", "default", "via", f"{self._subnet}.5"]
        yield ["ip", "-n", agents, "link", "set", "lo", "up"]
        yield ["ip", "netns", "exec", router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network for as long as the block lasts. Raises SkippedError where there can be none."""
    made = Network(os.getpid())
    made.make()
    try:
        yield made
    finally:
        made.remove()


def _has_ping() -> bool:
    return any(os.access(f"{folder}/ping", os.X_OK) for folder in ("/bin", "/usr/bin"))


def _run(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=True, timeout=20)
