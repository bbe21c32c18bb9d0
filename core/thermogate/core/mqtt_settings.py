"""How to reach the broker: settings and URL."""

from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from thermogate.core.config import Settings
from thermogate.core.errors import ConfigError

_Positive = Annotated[float, Meta(gt=0)]


class MqttSettings(Settings, frozen=True):
    """How to reach the broker."""

    url: str = "mqtt://127.0.0.1:1883"
    """mqtt://HOST[:1883] or mqtts://HOST[:8883]."""
    username: str = ""
    """Empty: none. With the ACL in systemd/mosquitto/, an agent's is its node's name."""
    password_file: str = ""
    """File whose first line is the password; under systemd a credential. Read again at every connect."""
    ca_file: str = ""
    """Authorities to trust with mqtts; empty: those of the system."""
    cert_file: str = ""
    """Certificate of this client, for mutual TLS. A broker may take its CN for the user name."""
    key_file: str = ""
    """Key of the certificate, without a passphrase; empty: it stands in cert_file."""
    tls_check_s: _Positive = 60.0
    """How often the files of TLS are looked at; a renewed one is taken within this, by connecting again."""
    connect_timeout_s: _Positive = 5.0
    """How long a connection, and then its TLS handshake, may take: a firewall that drops says nothing."""
    keepalive_s: Annotated[int, Meta(ge=1, le=65535)] = 30
    """The broker declares a silent client dead after 1.5 times this."""
    reconnect_min_s: _Positive = 0.5
    """The shortest wait before connecting again."""
    reconnect_max_s: _Positive = 30.0
    """The longest. Waits are drawn from between the shortest and a bound that doubles up to this: 20,000
    nodes must not knock at once."""
    receive_window: Annotated[int, Meta(ge=0, le=65535)] = 4000
    """Messages that the broker may have on their way to a collector or analytics unacknowledged, asked for by
    MQTT 5: four writes of 1000, so that two run while the next fill. With MQTT 3.1.1, which agents speak, it
    is what the broker is set to (Mosquitto's max_inflight_messages: 20). 0: do not ask, speak 3.1.1."""
    echo_s: _Positive = 10.0
    """A client with a last will reads back its first message on that topic. None within this: the broker
    takes what it may not write and drops it, as MQTT 3.1.1 brokers do, and that is said."""


def parse_url(url: str) -> tuple[str, int, bool]:
    """(host, port, TLS) of an mqtt or mqtts URL. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as err:
        raise ConfigError(f"mqtt.url {url!r}: {err}") from err
    if "@" in parts.netloc:  # not shown: it may hold a password
        raise ConfigError("mqtt.url: no user in the URL: set mqtt.username and mqtt.password_file")
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path.strip("/"):
        raise ConfigError(f"mqtt.url {url!r}: expected mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
    secure = parts.scheme == "mqtts"
    return parts.hostname, port or (8883 if secure else 1883), secure
