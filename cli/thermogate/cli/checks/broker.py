"""Judgement of the way to the broker: where it ends, why, and what its end needs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import get_args

from thermogate.cli.checks.broker_look import BrokerLook, Step
from thermogate.cli.checks.config import DoctorSettings
from thermogate.cli.checks.finding import AS_ROOT, PROGRAM, Finding, absent, duration, fail, ok, plural, warn
from thermogate.core.certificate import Certificate
from thermogate.core.clock import NS
from thermogate.core.mqtt_explain import explain
from thermogate.core.mqtt_settings import MqttSettings

_STEPS: Sequence[Step] = get_args(Step)
_LOOPBACK = ("127.", "::1")
_STUCK: Mapping[Step, str] = {
    "dns": "the name server does not answer: look at /etc/resolv.conf",
    "login": "it takes connections but does not answer MQTT: is it stuck, or another service?",
    "subscription": "it has let this client in and then fell silent: is it stuck?",
}
"""What no answer means where it does not mean the network."""
_TOOLS: Mapping[Step, str] = {
    "dns": "getent hosts {host}; resolvectl status; or write an address into mqtt.url",
    "tcp": "nc -vz {host} {port}; on the broker: systemctl status mosquitto; ss -ltnp",
    "tls": "openssl s_client -connect {host}:{port} -servername {host} </dev/null",
    "login": "on the broker: its log (Debian: /var/log/mosquitto/mosquitto.log) says when, not why",
    "subscription": "on the broker: read its acl_file; its log (Debian: /var/log/mosquitto/mosquitto.log)",
}
"""What shows more."""


def judge(
    look: BrokerLook, settings: MqttSettings, node: str, now: datetime, limits: DoctorSettings
) -> list[Finding]:
    """A finding a step: those before the end are ok, those after it were not reached."""
    end = _STEPS.index(look.failed_at) if look.failed_at else len(_STEPS)
    findings = []
    for number, step in enumerate(_STEPS):
        if number > end:
            findings.append(absent(f"broker.{step}", "not reached"))
        elif number == end:
            findings.append(_failed(step, look, settings))
        else:
            findings.append(_passed(step, look, settings, node))
    findings += _certificates(look, now, limits)
    return findings + ([_status(look, now)] if look.status else [])


def _failed(step: Step, look: BrokerLook, settings: MqttSettings) -> Finding:
    assert look.error is not None
    told = explain(look.error, settings).removeprefix(f"{settings.url}: ")
    if isinstance(look.error, TimeoutError) and step in _STUCK:
        told = _STUCK[step]
    cause, _, cure = told.rpartition(": ")
    tool = _TOOLS[step].format(host=look.host, port=look.port)
    cure = cure + (" " if cure.endswith("?") else "; ") + tool if cause else tool
    return fail(f"broker.{step}", settings.url, cause or told, cure)


def _passed(step: Step, look: BrokerLook, settings: MqttSettings, node: str) -> Finding:
    check = f"broker.{step}"
    match step:
        case "dns":
            return ok(check, f"{look.host}: {', '.join(look.addresses)}")
        case "tcp":
            return ok(check, f"port {look.port} takes connections")
        case "tls":
            return _tls(look, settings)
        case "login":
            return _login(settings, look, node)
        case "subscription":
            return _subscription(look, node)


def _tls(look: BrokerLook, settings: MqttSettings) -> Finding:
    check = "broker.tls"
    if look.secure:
        return ok(
            check, f"{look.tls}; certificate of {look.peer.name if look.peer else look.host} is trusted"
        )
    remote = [address for address in look.addresses if not address.startswith(_LOOPBACK)]
    if settings.username and remote:
        cause = "user and password cross the network readable: mqtt:// is not encrypted"
        cure = "let the broker listen with TLS (systemd/mosquitto/) and set mqtt.url to mqtts://..."
        return warn(check, "not used", cause, cure)
    return absent(check, "not used: mqtt:// is not encrypted")


def _login(settings: MqttSettings, look: BrokerLook, node: str) -> Finding:
    check = "broker.login"
    user = settings.username or (look.own.name if look.own else "")
    text = f"accepted as {user}" if user else "accepted without a user"
    if not user or user == node:
        return ok(check, text)
    cause = (
        f"the shipped ACL lets {user!r} write below node/{user} only, and this node is {node!r}:"
        " the broker would throw its samples away without a word"
    )
    cure = "give agent.node and the broker's user (or the certificate's CN) one name; another ACL may differ"
    return warn(check, text, cause, cure)


def _subscription(look: BrokerLook, node: str) -> Finding:
    check = "broker.subscription"
    trip = f"{1000 * (look.round_trip_s or 0.0):.3g} ms"
    if look.granted:
        return ok(check, f"acknowledgements of {node} may be read; round trip {trip}")
    cause = (
        f"the broker's ACL does not let this user read thermogate/v1/node/{node}/ack: the spool never empties"
    )
    cure = "add to acl_file: pattern read thermogate/v1/node/%u/ack; then systemctl reload mosquitto"
    return fail(check, f"refused; round trip {trip}", cause, cure)


def _certificates(look: BrokerLook, now: datetime, limits: DoctorSettings) -> list[Finding]:
    findings = []
    if look.peer is not None:
        cure = "renew it on the broker, then systemctl reload mosquitto"
        findings.append(_expiry("broker.certificate", "the broker's", look.peer, now, limits, cure))
    if look.own is not None:
        cure = f"renew it and its key: sudo {PROGRAM} agent install --cert-file FILE --key-file FILE"
        findings.append(_expiry("broker.own_certificate", "this node's", look.own, now, limits, cure))
    return findings


def _expiry(
    check: str, whose: str, certificate: Certificate, now: datetime, limits: DoctorSettings, cure: str
) -> Finding:
    left_days = (certificate.not_after - now).total_seconds() / 86400
    whose = f"{whose} ({certificate.name})" if certificate.name else whose
    until = f"{certificate.not_after:%Y-%m-%d %H:%M} UTC"
    if left_days < 0:
        return fail(check, f"{whose} ended {until}", "it has expired, and is refused", cure)
    text = f"{whose} is valid until {until}, {int(left_days)} days more"
    if left_days >= limits.certificate_days:
        return ok(check, text)
    return warn(check, text, f"it ends in less than {limits.certificate_days:g} days", cure)


def _status(look: BrokerLook, now: datetime) -> Finding:
    assert look.status is not None
    check, status = "broker.status", look.status
    age = duration(max(0.0, now.timestamp() - status.time_ns / NS))
    text = f"the broker's last word of this node: {'online' if status.online else 'offline'}, {age} ago"
    text += f", {plural(status.spool_depth, 'message')} in its spool"
    if status.online:
        return ok(check, text)
    cause = status.text or "the agent said goodbye"
    return warn(check, text, cause, "systemctl status thermogate-agent; if it runs, see broker.login")


def unreadable(text: str) -> Finding:
    """The broker was not asked, as this user may not read what the agent would show it."""
    cause = "certificate, key or password are for the agent and root only"
    return warn("broker.login", text, cause, AS_ROOT)
