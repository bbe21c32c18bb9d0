"""Every way in which a connection fails is told with its cause and what to do about it."""

import errno
import socket
import ssl

import pytest

from thermogate.core.errors import ConfigError
from thermogate.core.mqtt_explain import DroppedError, LostError, RefusedError, SilentError, explain
from thermogate.core.mqtt_link import Waits
from thermogate.core.mqtt_settings import MqttSettings

PLAIN = MqttSettings(url="mqtt://broker")
SECURE = MqttSettings(url="mqtts://broker", ca_file="/etc/ca.pem")
MUTUAL = MqttSettings(url="mqtts://broker", cert_file="/etc/n17.pem", key_file="/etc/n17.key")
USER = MqttSettings(url="mqtt://broker", username="n17", password_file="/etc/password")


def tls(reason):
    error = ssl.SSLError(1, f"[SSL: {reason}] words (_ssl.c:1)")
    error.reason = reason
    return error


def bad_certificate(code, message="words"):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


def because(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "settings", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), PLAIN, "nobody listens on port 1883"),
        (socket.gaierror(-2, "Name or service not known"), PLAIN, "'broker' has no address"),
        (UnicodeError("label too long"), PLAIN, "'broker' has no address"),
        (TimeoutError("timed out"), PLAIN, "no answer in 5 s: is there a firewall"),
        (TimeoutError("_ssl.c:1: The handshake operation timed out"), SECURE, "does the port speak TLS"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), PLAIN, "Network is unreachable"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), SECURE, "is it one for TLS"),
        (ssl.SSLEOFError(8, "EOF occurred"), SECURE, "is it one for TLS"),
        (tls("WRONG_VERSION_NUMBER"), SECURE, "is it one for TLS"),
        (tls("TLSV1_ALERT_PROTOCOL_VERSION"), SECURE, "no TLS as new as 1.2"),
        (tls("SSLV3_ALERT_HANDSHAKE_FAILURE"), SECURE, "set mqtt.cert_file and mqtt.key_file"),
        (tls("SOMETHING_NEW"), SECURE, "TLS fails: something new"),
        (tls("SSLV3_ALERT_CERTIFICATE_REVOKED"), MUTUAL, "certificate revoked; the broker's log says why"),
        (bad_certificate(9), SECURE, "not yet valid: set the clock right"),
        (bad_certificate(10), SECURE, "has expired: renew it on the broker"),
        (bad_certificate(20), SECURE, "no authority /etc/ca.pem signed"),
        (bad_certificate(20), MUTUAL, "no authority of this system signed"),
        (bad_certificate(62), SECURE, "is not for 'broker'"),
        (bad_certificate(23, "certificate revoked"), SECURE, "is not good: certificate revoked"),
        (RefusedError(135, "Not authorized"), USER, "user 'n17' or this password"),
        (RefusedError(134, "Bad user name"), PLAIN, "set mqtt.username and mqtt.password_file"),
        (RefusedError(135, "Not authorized"), MUTUAL, "use_identity_as_username"),
        (RefusedError(133, "Client identifier not valid"), PLAIN, "clientid_prefixes"),
        (RefusedError(136, "Server unavailable"), PLAIN, "out of service for now"),
        (RefusedError(151, "Quota exceeded"), PLAIN, "refuses this client: Quota exceeded"),
        (DroppedError(), PLAIN, "does its port want TLS (mqtts://)"),
        (DroppedError(), SECURE, "hangs up after TLS: if it requires a client certificate"),
        (DroppedError(), MUTUAL, "may refuse the client certificate /etc/n17.pem"),
        (because(DroppedError(), tls("TLSV13_ALERT_CERTIFICATE_REQUIRED")), SECURE, "requires a client cert"),
        (because(LostError(), ConnectionResetError("reset")), PLAIN, "was lost (reset)"),
        (LostError(), PLAIN, "was lost (the broker closed it)"),
        (SilentError(), PLAIN, "nothing was heard for 30 s"),
        (ValueError("bad packet"), PLAIN, "is not MQTT (bad packet)"),
    ],
)
def test_the_cause_is_named_in_one_line_with_the_url_first(error, settings, words):
    told = explain(error, settings)
    assert words in told
    assert told.startswith(f"{settings.url}: ")
    assert "\n" not in told


def test_a_wrong_setting_speaks_for_itself():
    assert explain(ConfigError("mqtt.ca_file /x: cannot be read"), PLAIN) == "mqtt.ca_file /x: cannot be read"


def test_waits_grow_to_the_longest_and_are_spread_over_their_whole_range():
    waits = Waits(0.5, 30.0)
    grown = [waits.next() for _ in range(500)]
    for number, wait_s in enumerate(grown):
        assert 0.5 <= wait_s <= min(30.0, 0.5 * 2 ** (number + 1))
    assert min(grown[10:]) < 5
    assert max(grown[10:]) > 25
    waits.reset()
    assert waits.next() <= 1.0
