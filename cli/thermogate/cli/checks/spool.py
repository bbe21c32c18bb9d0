"""Judgement of a spool: is it written, does it empty, has it room?"""

from pathlib import Path

from thermogate.agent.spool_settings import SpoolSettings
from thermogate.cli.checks.config import DoctorSettings
from thermogate.cli.checks.finding import (
    AS_ROOT,
    PROGRAM,
    Finding,
    absent,
    duration,
    fail,
    ok,
    plural,
    size,
    warn,
)
from thermogate.cli.checks.people import PASS, WRITE, Access, Person, may
from thermogate.cli.checks.spool_look import SpoolLook

_START = "systemctl restart thermogate-agent; then read `journalctl -u thermogate-agent -n 50`"
_FILES = 300
"""A full spool is 256 files; a few more for the one that begins and for the identity."""
_LEAST_BYTES = 256 * 1024
"""The least that agent.spool.max_bytes takes."""


def judge(look: SpoolLook, person: Person, limits: SpoolSettings, settings: DoctorSettings) -> list[Finding]:
    """`person` is who the agent runs as, or would."""
    closed = next((part for part in look.way if not may(person, part, PASS)), None)
    if closed:
        return [_closed(look, closed, person), *_others(look)]
    if look.hidden:
        return [_hidden(look)]
    if not look.exists:
        text = f"{look.folder}: not there yet; it is made when an agent first runs"
        return [absent("spool.folder", text), *_others(look)]
    return [
        _folder(look, person),
        _room(look, limits),
        _samples(look, settings),
        _acknowledged(look, settings),
        *_dropped(look, limits),
        *_others(look),
    ]


def _closed(look: SpoolLook, closed: Access, person: Person) -> Finding:
    cause = f"the agent's user {person.name} may not pass {closed.text}"
    return fail(
        "spool.folder", look.folder, cause, f"chown {person.name}: {closed.path}; chmod 0750 the same"
    )


def _others(look: SpoolLook) -> list[Finding]:
    """Messages that were measured under another name, which only an agent of that name sends."""
    findings = []
    for name, count in look.others.items():
        folder = Path(look.folder).with_name(name)
        cause = f"no agent runs as node {name}, and that of another node does not send them"
        cure = (
            f"sudo {PROGRAM} agent install --node {name} until they are stored, with its user at the broker;"
            f" or throw them away: rm -r {folder}"
        )
        text = f"{folder}: {plural(count, 'message')} not yet stored"
        findings.append(warn("spool.others", text, cause, cure))
    return findings


def _hidden(look: SpoolLook) -> Finding:
    check = "spool.folder"
    if not look.refused:
        cure = f"fsck the file system of {look.folder}, or move the spool away and restart the agent"
        return fail(check, look.hidden, "the disk does not give the spool back", cure)
    cause = "only the agent's user and root may look into its spool"
    return warn(check, look.hidden, cause, AS_ROOT)


def _folder(look: SpoolLook, person: Person) -> Finding:
    check, text = "spool.folder", f"{look.folder}, {size(look.bytes)} in {plural(look.records, 'message')}"
    if look.read_only:
        cause = "its file system is mounted read-only, as the kernel does after an error of the disk"
        cure = f"dmesg -T | grep -iE 'I/O error|remount'; then mount -o remount,rw the disk of {look.folder}"
        return fail(check, text, cause, cure)
    if look.access and not may(person, look.access, WRITE):
        cause = f"the agent's user {person.name} may not write there: {look.access.text}"
        return fail(check, text, cause, f"chown -R {person.name}: {look.folder}")
    return ok(check, text)


def _room(look: SpoolLook, limits: SpoolSettings) -> Finding:
    check = "spool.room"
    wanted = max(0, limits.max_bytes - look.bytes)
    text = (
        f"{size(look.free_bytes)} free, {size(wanted)} may still be wanted (limit {size(limits.max_bytes)})"
    )
    if 0 <= look.free_files < _FILES:
        found = f"{look.free_files} files more can be made on this file system"
        cause = "it has run out of inodes, of which the spool wants up to 256"
        judged = fail if look.free_files == 0 else warn
        return judged(check, found, cause, f"df -i {look.folder}; delete many small files")
    if look.free_bytes >= wanted:
        return ok(check, text)
    cause = "the disk would be full before the spool is: in a long outage samples would be dropped"
    most = look.bytes + look.free_bytes
    cure = f"make room (df -h {look.folder})"
    cure += f", or set agent.spool.max_bytes below {most}" if most > _LEAST_BYTES else ""
    full = look.free_bytes < limits.max_bytes // 256
    return fail(check, text, "the file system is full", cure) if full else warn(check, text, cause, cure)


def _samples(look: SpoolLook, settings: DoctorSettings) -> Finding:
    check = "spool.samples"
    if look.newest_age_s is None:
        text = "no sample in it"
        if look.writer is None:
            return absent(check, f"{text}, and no agent runs")
        return fail(check, text, "the agent runs but has measured nothing", _START)
    text = f"newest {duration(look.newest_age_s)} old"
    if look.writer is None:
        return fail(check, f"{text}; no agent has this spool open", "no agent runs on this node", _START)
    if look.newest_age_s > settings.silence_s:
        cause = f"the agent (process {look.writer.pid}) spools nothing: it hangs, or the disk takes nothing"
        return fail(check, text, cause, _START)
    return ok(
        check, f"{text}, written by process {look.writer.pid} as {look.writer.person.name}{_pace(look)}"
    )


def _pace(look: SpoolLook) -> str:
    stats = look.points.get("agent")
    if stats is None:
        return ""
    told = {"ticks": "ticks_count", "late": "late_count", "skipped": "skipped_count"}
    return "; " + ", ".join(
        f"{name} {stats.fields[key]:.0f}" for name, key in told.items() if key in stats.fields
    )


def _acknowledged(look: SpoolLook, settings: DoctorSettings) -> Finding:
    check = "spool.acknowledged"
    waiting = f"{plural(look.unstored, 'message')} not yet stored"
    if look.oldest_age_s is not None:
        waiting += f", the oldest for {duration(look.oldest_age_s)}"
    if look.stored_age_s is None:
        text = f"no acknowledgement is on record; {waiting}"
        if (look.oldest_age_s or 0.0) <= settings.ack_age_s:
            return absent(check, text)
        return fail(check, text, *_silence(look))
    text = f"last {duration(look.stored_age_s)} ago; {waiting}"
    late = min(look.stored_age_s, look.oldest_age_s or 0.0) > settings.ack_age_s
    if not late:
        return ok(check, text)
    return fail(check, text, *_silence(look))


def _silence(look: SpoolLook) -> tuple[str, str]:
    """Cause and cure of messages that no store acknowledges."""
    if look.writer is None:
        return "nobody sends them: no agent runs on this node", _START
    cause = (
        "no collector says that a store has them: the broker is not reached or lets this node publish nothing"
        " (checks `broker`), no collector runs, or its store takes nothing"
    )
    cure = (
        "on the collector's machine: systemctl status thermogate-collector;"
        " journalctl -u thermogate-collector -n 50"
    )
    return cause, cure


def _dropped(look: SpoolLook, limits: SpoolSettings) -> list[Finding]:
    stats = look.points["agent"].fields if "agent" in look.points else {}
    findings = []
    if dropped := stats.get("spool_dropped_count", 0):
        cause = f"the spool was full ({size(limits.max_bytes)}) or older than {duration(limits.max_age_s)}"
        cure = "let a store have them (spool.acknowledged), or give agent.spool.max_bytes more"
        findings.append(
            warn("spool.dropped", f"{plural(int(dropped), 'message')} dropped unstored", cause, cure)
        )
    if lost := stats.get("spool_lost_count", 0):
        cause = "the disk gave damaged files back, or somebody deleted them"
        cure = "dmesg -T | grep -iE 'I/O error|ext4|xfs'; smartctl -a the disk"
        findings.append(
            warn("spool.lost", f"{plural(int(lost), 'message')} found damaged or missing", cause, cure)
        )
    return findings
