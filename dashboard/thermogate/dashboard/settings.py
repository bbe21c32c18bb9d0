"""Settings of the dashboard: where it listens and when a device needs a person."""

from thermogate.core.config import Settings
from thermogate.core.errors import ConfigError


class DashboardSettings(Settings, frozen=True):
    """Every threshold of the page and its API, with the reason for its default."""

    listen: str = "127.0.0.1:8420"
    """HOST:PORT; loopback, because whoever can open it reads the whole fleet. Port 0: any free one."""
    stale_after_s: float = 10.0
    """A device is stale past this: ten missed samples are no jitter, and fewer would flicker."""
    forget_offline_s: float = 86_400.0
    """A node that has been offline for longer is not shown: it is gone, and a list of the gone hides
    those that are missed. It is back with its next status."""
    hot_margin_c: float = 5.0
    """Hot when this near its temperature limit: the evidence that the collapse detector asks for."""
    hot_t_sustain_s: float = 60.0
    """Hot when the limit is nearer than this at the present rate of heating; same source."""
    loaded_util_ratio: float = 0.60
    loaded_power_ratio: float = 0.75
    """Under load above either (the power as a share of the limit): an idle one that warms up is not hot."""
    poll_s: float = 1.0
    """Period of the one poll that feeds every open page; samples come at 1 Hz."""
    store_timeout_s: float = 5.0
    """A poll without an answer for this long is reported to the pages as a store that hangs."""
    heartbeat_s: float = 5.0
    """Longest silence on a stream; a page takes three missed ones for a broken connection."""
    client_backlog: int = 256
    """Events and decisions kept for a slow page before it is told to fetch them again."""
    live_window_s: float = 900.0
    """How late an event or decision may reach the store and still be shown as it appears."""
    chart_points: int = 600
    """Steps of a series when no step is asked for: about one for two pixels of a chart."""
    max_points: int = 20_000
    """Steps of a series at most, so that one question cannot fill the memory."""
    job_look_back_days: float = 30.0
    """How long before a range a job may have begun, and how long after it its end may have been told,
    to be found; the embedded store keeps its samples as long."""
    job_events: int = 100_000
    """Beginnings and ends of jobs that are read for one question at most: about 100 MB of memory."""
    job_node_events: int = 10_000
    """When there are more than `job_events`, nodes with more than this are left out of the answer, and
    named in it: one that floods must not take it from everybody. 8 GPUs with 20 jobs a day each have as
    many in a month."""


def split_listen(listen: str) -> tuple[str, int]:
    """("127.0.0.1", 8420) of "127.0.0.1:8420"; an IPv6 host stands in brackets.

    Raises ConfigError when it is not HOST:PORT.
    """
    host, _, port = listen.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    sound = bool(host) and (bracketed or ":" not in host)
    if not sound or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"listen: {listen!r} is not HOST:PORT, such as 127.0.0.1:8420 or [::1]:8420")
    return host.strip("[]"), int(port)
