"""Settings of the dashboard: where it listens and when a device needs a person."""

from typing import Annotated

from msgspec import Meta

from thermogate.core.config import Settings
from thermogate.core.errors import ConfigError


class DashboardSettings(Settings, frozen=True):
    """Every threshold of the page and its API, with the reason for its default."""

    listen: str = "127.0.0.1:8420"
    """HOST:PORT; loopback, because whoever can open it reads the whole fleet. Port 0: any free one. Beyond
    loopback `tokens_file` and `cert_file` are needed, or the word of the settings that allow otherwise."""
    tokens_file: str = ""
    """Who may ask, as `thermogate tokens` keeps it; empty: whoever reaches it may. Read when it changes."""
    cert_file: str = ""
    """Certificate for https, with the authorities between it and the one that clients trust; empty: http."""
    key_file: str = ""
    """Its key, without a passphrase; empty: it stands in cert_file. Renewed files are taken at the next
    connection, once they are good."""
    allow_anonymous: bool = False
    """Listen beyond loopback without tokens: whoever reaches the port reads the whole fleet."""
    allow_plain_http: bool = False
    """Listen beyond loopback without TLS, as behind a proxy that ends it: tokens can be read on the way."""
    hosts: tuple[str, ...] = ()
    """More names under which browsers may ask while there are no tokens. Addresses, localhost and the host
    of `listen` may; any other name is refused, as it may be a foreign page's that was pointed here."""
    session_h: Annotated[float, Meta(gt=0)] = 12.0
    """How long a browser stays logged in: a working day. A token that is revoked ends it at once."""
    auth_failures: Annotated[int, Meta(ge=1)] = 10
    """Wrong tokens of one address, within `auth_window_s`, before its wrong ones are put off. A right one
    always passes: with 256 bits nothing can be guessed, and neighbours behind one address must not shut
    each other out."""
    auth_window_s: Annotated[float, Meta(gt=0)] = 60.0
    """A person who copied half of a token tries a few times a minute; a script that was not told of a new
    one must not fill the log."""
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
    connections: Annotated[int, Meta(ge=1)] = 500
    """Connections at once; one more is closed. A process may usually have 1,024 files open, and broker and
    store need theirs."""
    silent_s: Annotated[float, Meta(gt=0)] = 75.0
    """A connection without a whole request for this long is closed; browsers close theirs after as long."""
    stalled_s: Annotated[float, Meta(gt=0)] = 60.0
    """Who takes nothing of an export or a stream for this long is let go: what is made for him is held."""
    streams: Annotated[int, Meta(ge=1)] = 200
    """Open pages at once; one that does not read holds the whole fleet, 2.3 MB of 8,000 devices."""
    long_answers: Annotated[int, Meta(ge=1)] = 8
    """Exports at once, and as many scrapes of /metrics: each reads, or holds, the whole fleet."""
    chart_points: int = 600
    """Steps of a series when no step is asked for: about one for two pixels of a chart."""
    max_points: int = 20_000
    """Steps of a series at most, so that one question cannot fill the memory."""
    dcgm_names: bool = True
    """Tell /metrics also under the names of NVIDIA's DCGM exporter, so that boards made for it work. Switch
    it off where that exporter is scraped too: each GPU would be counted twice. A scrape is 1.8 times as
    large."""
    ranking_devices: int = 200_000
    """Devices of one ranking at most: 20,000 nodes with 8 GPUs and two CPUs."""
    ranking_events: int = 200_000
    """Beginnings of collapses that are read to rank devices by them at most: 8,000 devices with one an
    hour each have as many in a day. Beyond it the answer asks for a narrower range."""
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
