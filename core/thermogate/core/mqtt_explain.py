"""Why there is no connection to the broker, in one sentence with the cause and what to do about it.

Pure: nothing is asked of the network. Which error means what was found by trying each against Mosquitto.
"""

import socket
import ssl
import struct
from datetime import UTC, datetime

from thermogate.core import certificate
from thermogate.core.errors import ConfigError, NotConnectedError
from thermogate.core.mqtt_settings import MqttSettings, parse_url

_OLD_PROTOCOL = 132
_ID_REJECTED, _BAD_USER, _NOT_AUTHORIZED, _OUT_OF_SERVICE = 133, 134, 135, 136
"""Why a broker refuses a client, by MQTT 5's numbers, into which paho translates those of 3.1.1."""
_NOT_YET_VALID, _EXPIRED, _UNKNOWN_AUTHORITY, _WRONG_NAME = 9, 10, (2, 18, 19, 20, 21), (62, 64)
"""What OpenSSL finds wrong with the broker's certificate."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
_OLD_TLS = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION")
_ACL = "an agent's user must be its node's name (the broker's acl_file)"
_SET_CERT = "set mqtt.cert_file and mqtt.key_file"


class RefusedError(NotConnectedError):
    """The broker answered, and does not want this client. `code` is MQTT 5's name of the reason."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class DroppedError(NotConnectedError):
    """The broker ended the connection before it had accepted this client; `__cause__` may say how."""


class LostError(NotConnectedError):
    """The broker had accepted this client, and then the connection ended; `__cause__` may say how."""


class SilentError(NotConnectedError):
    """Nothing has come from the broker for longer than the keepalive."""


class TooLargeError(NotConnectedError):
    """The broker sends a packet that no part of thermogate has sent."""


def explain(error: BaseException, settings: MqttSettings) -> str:
    """One sentence with cause and cure of an error that connecting raised or a connection ended with."""
    match error:
        case ConfigError():
            return str(error)
        case RefusedError():
            why = _refused(error, settings)
        case LostError():
            why = f"the connection was lost{_how(error)}: connecting again"
        case SilentError():
            why = f"nothing was heard for {settings.keepalive_s} s: is the broker or the network stuck?"
        case TooLargeError():
            why = f"{error}: set max_packet_size at the broker, and clear what is retained there"
        case DroppedError():
            why = _dropped(error, settings)
        case ssl.SSLError():
            why = _tls(error, settings)
        case OSError() | UnicodeError() if not isinstance(error, UnicodeDecodeError):
            why = _network(error, settings)
        case _:
            why = f"what came is not MQTT ({error}): is this the broker's port?"
    return f"{settings.url}: {why}"


def speaks_no_5(error: BaseException) -> bool:
    """Whether a broker that was spoken to in MQTT 5 may know 3.1.1 only: it says so, or hangs up.

    What comes may then also be an answer that makes no sense in MQTT 5.
    """
    said = isinstance(error, RefusedError) and error.code == _OLD_PROTOCOL
    return said or isinstance(error, DroppedError | ValueError | LookupError | struct.error)


def window_of_its_own(settings: MqttSettings) -> str:
    """What it means that a broker speaks no MQTT 5."""
    return (
        f"{settings.url}: the broker speaks no MQTT 5 and is not asked for mqtt.receive_window: how much "
        "it sends ahead is for it to set (Mosquitto: max_inflight_messages)"
    )


def denied_reading(topic: str, settings: MqttSettings) -> str:
    """What it means that the broker grants no subscription to `topic`."""
    return f"{settings.url}: the broker denies {_who(settings)} to read {topic}: {_ACL}"


def dropped_writing(topic: str, settings: MqttSettings) -> str:
    """What it means that the broker took a message for `topic` and passed it to nobody."""
    return (
        f"{settings.url}: the broker drops what {_who(settings)} writes to {topic}, or does not let it read "
        f"there: {_ACL}"
    )


def taken_over(client_id: str, settings: MqttSettings) -> str:
    """What it means that one connection after the other is accepted and soon ended."""
    return (
        f"{settings.url}: the broker accepts this client and soon hangs up, again and again: is another "
        f"client with the id {client_id!r} connected (two agents with one node name), or is something sent "
        "that the broker does not take (its log says)?"
    )


def _refused(error: RefusedError, settings: MqttSettings) -> str:
    if error.code == _OUT_OF_SERVICE:
        return "the broker is out of service for now: trying again"
    if error.code == _ID_REJECTED:
        return "the broker does not take this client's id: its configuration limits them (clientid_prefixes)"
    if error.code not in (_BAD_USER, _NOT_AUTHORIZED):
        return f"the broker refuses this client: {error}"
    if settings.username:
        file = settings.password_file or "(not set)"
        return (
            f"the broker does not know user {settings.username!r} or this password: "
            f"compare mqtt.password_file {file} with the broker's own (mosquitto_passwd)"
        )
    if settings.cert_file:
        return f"the broker wants a user, and the {_own(settings)} is none: use_identity_as_username"
    return "the broker lets nobody in without a user: set mqtt.username and mqtt.password_file"


def _how(error: LostError) -> str:
    return f" ({error.__cause__})" if error.__cause__ else " (the broker closed it)"


def _dropped(error: DroppedError, settings: MqttSettings) -> str:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
        return _tls(cause, settings)
    if not parse_url(settings.url)[2]:
        return "the broker hangs up without an answer: does its port want TLS (mqtts://), or is it full?"
    if not settings.cert_file:
        return f"the broker hangs up after TLS: if it requires a client certificate, {_SET_CERT}"
    return f"the broker hangs up after TLS, and its log says why: it may refuse the {_own(settings)}"


def _tls(error: ssl.SSLError, settings: MqttSettings) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, settings)
    reason: str = getattr(error, "reason", None) or ""  # not every kind has one
    if isinstance(error, ssl.SSLEOFError) or reason in _NO_TLS:
        return _no_tls()
    if reason in _OLD_TLS:
        return "the broker speaks no TLS as new as 1.2: raise its tls_version"
    if reason.endswith("CERTIFICATE_REQUIRED"):
        return f"the broker requires a client certificate: {_SET_CERT}"
    if reason.endswith("HANDSHAKE_FAILURE") and not settings.cert_file:
        return f"the broker breaks the TLS handshake off: if it requires a client certificate, {_SET_CERT}"
    if "_ALERT_" in reason and settings.cert_file:
        return f"the broker refuses the {_own(settings)}: {_cure(reason)}"
    return f"TLS fails: {_plain(reason) or error}"


def _cure(reason: str) -> str:
    if reason.endswith("CERTIFICATE_EXPIRED"):
        return "it has expired: renew it"
    if reason.endswith("UNKNOWN_CA"):
        return "the broker does not know who signed it: use one signed by the broker's cafile"
    return f"{_plain(reason.partition('_ALERT_')[2])}; the broker's log says why"


def _certificate(error: ssl.SSLCertVerificationError, settings: MqttSettings) -> str:
    # To the day: a text that changed by the minute would be logged every minute.
    code, clock = error.verify_code, f"this machine's clock says {datetime.now(UTC):%Y-%m-%d}"
    if code == _EXPIRED:
        return f"the broker's certificate has expired: renew it on the broker ({clock})"
    if code == _NOT_YET_VALID:
        return f"the broker's certificate is not yet valid: set the clock right ({clock})"
    if code in _WRONG_NAME:
        host = parse_url(settings.url)[0]
        return f"the broker's certificate is not for {host!r}: use a name that it has in mqtt.url"
    if code in _UNKNOWN_AUTHORITY:
        trusted = settings.ca_file or "of this system"
        return f"no authority {trusted} signed the broker's certificate: set mqtt.ca_file to the one that did"
    return f"the broker's certificate is not good: {error.verify_message}"


def _network(error: OSError | UnicodeError, settings: MqttSettings) -> str:
    host, port, secure = parse_url(settings.url)
    match error:
        case socket.gaierror() | UnicodeError():
            return f"the name {host!r} has no address ({error}): check mqtt.url and this machine's DNS"
        case ConnectionRefusedError():
            return f"nobody listens on port {port}: is the broker running, and is this its port?"
        case TimeoutError() if "handshake" in str(error):
            return f"no TLS handshake in {settings.connect_timeout_s:g} s: does the port speak TLS?"
        case TimeoutError():
            return f"no answer in {settings.connect_timeout_s:g} s: is there a firewall, or the host down?"
        case ConnectionResetError() | BrokenPipeError() if secure:
            return _no_tls()
    return f"{error.strerror if isinstance(error, OSError) and error.strerror else error}"


def _no_tls() -> str:
    return "the port ends the TLS handshake: is it one for TLS (8883), or does it want mqtt:// ?"


def _own(settings: MqttSettings) -> str:
    """The client's certificate, with what there is to know of it."""
    try:
        found = certificate.read(settings.cert_file)
    except ConfigError:
        return f"client certificate {settings.cert_file}"
    until = f"{found.not_after:%Y-%m-%d %H:%M}"
    return f"client certificate {settings.cert_file} (CN {found.name}, valid until {until} UTC)"


def _who(settings: MqttSettings) -> str:
    if settings.username:
        return f"user {settings.username!r}"
    if not settings.cert_file:
        return "a client without a user"
    try:
        return f"user {certificate.read(settings.cert_file).name!r} (the CN of {settings.cert_file})"
    except ConfigError:
        return f"the owner of {settings.cert_file}"


def _plain(reason: str) -> str:
    return reason.replace("_", " ").lower()
