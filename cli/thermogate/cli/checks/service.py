"""Does systemd run the agent, and how is it?"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from thermogate.cli.checks.finding import PROGRAM, Finding, absent, fail, ok, plural, size, warn
from thermogate.cli.layout import UNIT

_PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,NRestarts,Result,ExecMainCode,ExecMainStatus,MainPID,"
    "MemoryCurrent,MemoryMax,WatchdogUSec,StatusText,NeedDaemonReload,InvocationID"
)
_WARNING = 4
"""Priority of a warning, see syslog(3); smaller is worse."""
_FATAL = "thermogate: "
"""How the line begins with which it ends itself."""
_BAD = re.compile(rf"\b(WARNING|ERROR|CRITICAL)\b|^{_FATAL}")
_NEAR_FULL = 0.9
"""Share of MemoryMax from which on the kernel takes memory back at the cost of ticks."""
_EXIT_CONFIG = "78"
_LOG = f"journalctl -u {UNIT} -n 50"
_STATES = {
    "watchdog": "the watchdog ended it: no sample came into the spool in time",
    "oom-kill": "it needed more memory than MemoryMax and was killed",
    "timeout": "it was not ready, or did not end, in time",
    "signal": "it was killed by a signal",
    "core-dump": "it crashed",
}


_ON_THE_WAY = ("start", "start-pre", "start-post")


class ServiceLook(msgspec.Struct, frozen=True):
    """What `systemctl show` and the journal say; `why_not` when there is no systemd to ask."""

    why_not: str = ""
    shown: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()


def look(timeout_s: float, booted: Path = Path("/run/systemd/system")) -> ServiceLook:
    """Ask systemd; changes nothing."""
    if not booted.is_dir():  # as sd_booted(3)
        return ServiceLook("systemd does not run this machine")
    try:
        text = _output(["systemctl", "show", UNIT, "-p", _PROPERTIES], timeout_s)
    except (OSError, subprocess.SubprocessError) as err:
        return ServiceLook(f"systemctl does not answer: {err}")
    shown = dict(line.partition("=")[::2] for line in text.splitlines())
    return ServiceLook(shown=shown, warnings=_warnings(shown, timeout_s))


def judge(look: ServiceLook) -> list[Finding]:
    """The unit, how it has run, its memory, and its last warnings."""
    if look.why_not:
        return [absent("service.unit", look.why_not)]
    shown = look.shown
    if shown.get("LoadState") == "not-found":
        return [absent("service.unit", f"{UNIT} is not installed: sudo {PROGRAM} agent install")]
    findings = [_unit(shown, next((line for line in reversed(look.warnings) if line.startswith(_FATAL)), ""))]
    if shown.get("ActiveState") == "active":
        findings += [_restarts(shown), _memory(shown)]
    return findings + _said(look.warnings)


def _unit(shown: Mapping[str, str], fatal: str) -> Finding:
    """`fatal` is what it said last, "" when it did not end itself."""
    check = "service.unit"
    state = shown.get("ActiveState", "unknown")
    enabled = shown.get("UnitFileState", "")
    text = f"{state} ({shown.get('SubState', '')}), {enabled or 'not installed by a file'}"
    if status := shown.get("StatusText"):
        text += f"; {status}"
    if shown.get("LoadState") != "loaded":
        cause = f"systemd cannot load the unit ({shown.get('LoadState')})"
        return fail(check, text, cause, f"systemd-analyze verify {UNIT}")
    if shown.get("SubState") in _ON_THE_WAY and shown.get("NRestarts") == "0":
        cause = "it is on its way: it has started when its first sample is in the spool"
        return warn(check, text, cause, f"wait for up to 90 s, and ask again; if it does not come: {_LOG}")
    if state not in ("active", "reloading"):
        cause, cure = _why_stopped(shown)
        return fail(check, text, f"{cause}: {fatal.removeprefix(_FATAL)}" if fatal else cause, cure)
    if enabled not in ("enabled", "enabled-runtime", "static", "generated"):
        return warn(check, text, "it will not start when the node boots", f"systemctl enable {UNIT}")
    if shown.get("NeedDaemonReload") == "yes":
        cause = "the unit file has changed since systemd read it"
        return warn(check, text, cause, f"systemctl daemon-reload && systemctl restart {UNIT}")
    return ok(check, text)


def _why_stopped(shown: Mapping[str, str]) -> tuple[str, str]:
    """Cause and cure of a service that is not active."""
    result, status = shown.get("Result", ""), shown.get("ExecMainStatus", "")
    if status == _EXIT_CONFIG:
        return "its configuration is wrong (exit status 78)", f"correct what it names: {_LOG}"
    if result in _STATES:
        return _STATES[result], f"systemctl restart {UNIT}; what it said before: {_LOG}"
    if result == "success" and shown.get("ActiveState") == "activating":
        return f"it ended {shown.get('NRestarts') or '?'} times and is started again", f"read why: {_LOG}"
    if result == "success":
        return "somebody stopped it, or nobody started it", f"systemctl enable --now {UNIT}"
    return f"it ended with status {status or '?'} ({result or 'unknown'})", f"read why: {_LOG}"


def _restarts(shown: Mapping[str, str]) -> Finding:
    check = "service.restarts"
    count = shown.get("NRestarts") or "0"
    watchdog = shown.get("WatchdogUSec", "0")
    text = plural(int(count), "restart") + (
        f", watchdog {watchdog}" if watchdog not in ("0", "infinity") else ""
    )
    if count == "0":
        return ok(check, text)
    cause = _STATES.get(shown.get("Result", ""), "it ended by itself and was started again")
    return warn(check, text, cause, f"what it said before it ended: {_LOG}")


def _memory(shown: Mapping[str, str]) -> Finding:
    check = "service.memory"
    used, most = shown.get("MemoryCurrent", ""), shown.get("MemoryMax", "")
    if not used.isdigit() or int(used) >= 1 << 63:  # "[not set]", or the largest number, in older systemd
        return absent(check, "systemd does not account for its memory")
    if not most.isdigit() or int(most) >= 1 << 63:
        return ok(check, f"{size(int(used))}, no limit")
    text = f"{size(int(used))} of {size(int(most))}"
    if int(used) < _NEAR_FULL * int(most):
        return ok(check, text)
    cause = "it is near its limit: the kernel may soon kill it"
    return warn(check, text, cause, f"systemctl restart {UNIT}, and report it: the agent should not grow")


def _said(warnings: Sequence[str]) -> list[Finding]:
    if not warnings:
        return []
    text = f"the last {len(warnings)} warnings in its log"
    return [warn("service.log", text, " | ".join(warnings), f"read what is around them: {_LOG}")]


def lines_of(shown: Mapping[str, str]) -> list[str]:
    """What finds the lines that count in the journal; [] for none.

    Of this run, as what an earlier one complained of is over; but one that does not come up says why
    before each end. Both are of its own processes: what systemd says is in its properties.
    """
    if shown.get("ActiveState") == "activating":
        return [f"_SYSTEMD_UNIT={UNIT}", "--boot", "-n", "30"]
    run = shown.get("InvocationID")
    return [f"_SYSTEMD_INVOCATION_ID={run}", "-n", "200"] if run else []


def _warnings(shown: Mapping[str, str], timeout_s: float) -> tuple[str, ...]:
    """The last lines of `lines_of` at warning level or worse, at most three."""
    wanted = lines_of(shown)
    if not wanted:
        return ()
    command = ["journalctl", *wanted, "-o", "json", "--no-pager", "-q"]
    try:
        lines = _output(command, timeout_s).splitlines()
    except (OSError, subprocess.SubprocessError):
        return ()
    return bad_lines(lines)


def bad_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Of `journalctl -o json`, the last three messages that warn, by their priority or their words."""
    found = []
    for line in lines:
        try:
            entry = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        text = entry.get("MESSAGE")
        if isinstance(text, str) and (int(entry.get("PRIORITY", 6)) <= _WARNING or _BAD.search(text)):
            found.append(text.strip())
    return tuple(found[-3:])


def _output(command: list[str], timeout_s: float) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    return done.stdout
