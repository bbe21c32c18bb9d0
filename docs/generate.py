"""Writes the pages that are made from code: metrics.md, settings.md, asyncapi.yaml and openapi.yaml in docs/.

`python docs/generate.py` writes them; with `--check` it only says which are stale, and fails.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from thermogate.cli.settings import ThermogateSettings
from thermogate.collector.store.resolution import (
    COVERED_NS,
    FLAGS_COUNTED,
    LOOK_BACK_NS,
    RESOLUTIONS,
    ROLLED_KINDS,
    rolled_name,
)
from thermogate.core import wire
from thermogate.core.clock import NS
from thermogate.core.config import Settings
from thermogate.core.decision import GateDecision
from thermogate.core.gate_messages import Applied, Override, Report, Signals
from thermogate.core.model import Ack, Event, Status
from thermogate.core.schema import MEASUREMENTS, VERSION, Field
from thermogate.dashboard import openapi
from thermogate.dashboard.dcgm import DCGM_NAMES
from thermogate.dashboard.otlp_names import otlp_name
from thermogate.dashboard.prometheus_names import metric_name

DOCS = Path(__file__).parent
MESSAGES: dict[str, tuple[type[msgspec.Struct], str]] = {
    "event": (Event, "Something that began or ended on a device."),
    "status": (Status, "Who a node is and whether it is there; the offline form is the last will."),
    "ack": (Ack, "Which messages of a node's spool the store has for good."),
    "gate": (GateDecision, "What a scheduler should do with a target, why, and until when."),
    "override": (
        Override,
        "An operator's word, which goes before every policy; a newer one that is over takes it back.",
    ),
    "applied": (Applied, "What a scheduler did about a decision, or would have done."),
    "request": (Report, "What a training says of itself at a step: loss, gradient norm, throughput."),
    "signal": (Signals, "The regulator's signals of a node's devices (docs/signals.md)."),
}
WRITERS = {
    "telemetry": "agent",
    "event": "agent",
    "status": "agent",
    "ack": "collector",
    "gate": "analytics",
    "override": "operator",
    "applied": "scheduler",
    "request": "trainer",
    "signal": "analytics",
}
RETAINED = ("status", "gate", "override")
TELEMETRY_EXAMPLE = wire.format_header("n17", "3f2a9c01", 1234).decode() + wire.format_line(
    "gpu", "n17", "0", "H100-SXM", None, {"power_w": 612.4, "temp_c": 63, "collapse": 0}, 1763712000000000000
)


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice, as people read it."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def main(arguments: list[str]) -> int:
    """0 when every page is written or, with --check, fresh."""
    pages = {
        DOCS / "metrics.md": metrics(),
        DOCS / "settings.md": settings(),
        DOCS / "asyncapi.yaml": asyncapi(),
        DOCS / "openapi.yaml": yaml.dump(openapi.document(), Dumper=_Plain, sort_keys=False, width=110),
    }
    stale = [page for page, text in pages.items() if not page.exists() or page.read_text() != text]
    for page in stale:
        if "--check" in arguments:
            print(f"{page.name} is stale: run `make docs`", file=sys.stderr)
        else:
            page.write_text(pages[page])
            print(f"wrote {page.name}")
    return int("--check" in arguments and bool(stale))


def metrics() -> str:
    """The page of every stored field."""
    parts = [
        "# Metrics",
        "",
        "Generated from `core/thermogate/core/schema.py` by `make docs`; do not edit.",
        "",
        "Every field of every measurement, as it stands on the wire and in the store. A field that was not",
        "measured is not there: never 0, -1, the last value or an estimate. Tags are `node`, `device` (its",
        "number on the node), `model` and, unless the sample was measured now, `origin` (`replay` or",
        "`simulated`). Times are UTC nanoseconds. Nodes send all but `signal`, which analytics compute.",
    ]
    for measurement in MEASUREMENTS.values():
        parts += ["", f"## {measurement.name}", "", measurement.what, "", "| field | unit | type | meaning |"]
        parts.append("|---|---|---|---|")
        parts += [f"| `{f.name}` | {f.unit} | {_type(f)} | {f.what} |" for f in measurement.fields]
    return "\n".join([*parts, *windows(), *names_elsewhere()]) + "\n"


def windows() -> Iterator[str]:
    """What stores keep of each minute and hour."""
    kinds = ", ".join(f"`{rolled_name(kind, name)}`" for kind in ROLLED_KINDS for name in RESOLUTIONS)
    flags = " and ".join(f"`{name}_growth`" for name in FLAGS_COUNTED)
    yield from (
        "",
        "## Windows",
        "",
        f"Beside the samples, stores keep a row a device for each minute and hour: {kinds},",
        "with tags `node` and `device`, stamped with the window's begin, of the fields that",
        "`collector.rollup.fields` names ([stores.md](stores.md)).",
        "",
        "| of each | fields | |",
        "|---|---|---|",
        "| gauge `F` | `F_mean`, `F_min`, `F_max`, `F_count` | of the samples that have it |",
        "| counter `F` | `F_growth`, `F_count` | the sum of its steps up, the step into the window included;"
        f" a step down, or one over more than {LOOK_BACK_NS // NS} s, counts nothing |",
        f"| flag | {flags} | how often it began |",
        "| window without `energy_j` | `energy_power_j` | J; computed: power between samples at most"
        f" {COVERED_NS // NS} s apart, times the time between |",
    )


def names_elsewhere() -> Iterator[str]:
    """What each field is called where others ask for it."""
    yield from (
        "",
        "## Names elsewhere",
        "",
        "On `/metrics` for Prometheus; there too, of NVIDIA GPUs, under the names of DCGM's exporter, in its",
        "units; over OTLP, `hw.*` by the conventions of OpenTelemetry. [integrations.md](integrations.md)",
        "says how.",
    )
    theirs = {row.field: row.name for row in DCGM_NAMES}
    for measurement in MEASUREMENTS.values():
        dcgm = measurement.name == "gpu"
        yield from ("", f"| {measurement.name} | Prometheus |{' DCGM |' if dcgm else ''} OpenTelemetry |")
        yield "|---|---|---|" + ("---|" if dcgm else "")
        for field in measurement.fields:
            name = theirs.get(field.name)
            column = f" {f'`{name}`' if name else ''} |" if dcgm else ""
            otlp = otlp_name(measurement.name, field)
            told = ", ".join(f"{key}={value}" for key, value in otlp.attributes.items())
            prometheus = metric_name(measurement.name, field)
            yield f"| `{field.name}` | `{prometheus}` |{column} `{otlp.name}`{f' ({told})' if told else ''} |"


def settings() -> str:
    """The page of every setting: default, and the reason that stands beside it in the code."""
    parts = [
        "# Settings",
        "",
        "Generated from the settings' own definitions by `make docs`; do not edit.",
        "",
        "One TOML file for every part (`--config FILE`; an example is `systemd/thermogate.toml`). A setting",
        "can also be given in the environment (`THERMOGATE_AGENT_PERIOD_S=2`) and on the command line",
        "(`--set agent.period_s=2`); later ones win in this order. An unknown key is an error that names",
        "its place.",
    ]
    for path, struct in _sections(ThermogateSettings, ()):
        own = [f for f in msgspec.structs.fields(struct) if not _is_section(f.type)]
        if own:
            reasons = _reasons(struct)
            parts += ["", f"## [{'.'.join(path)}]" if path else "## top level", "", _summary(struct), ""]
            parts += ["| key | default | meaning |", "|---|---|---|"]
            parts += [f"| `{f.name}` | `{_default(f)}` | {reasons.get(f.name, '')} |" for f in own]
    return "\n".join(parts) + "\n"


def _sections(
    struct: type[msgspec.Struct], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], type[msgspec.Struct]]]:
    yield path, struct
    for field in msgspec.structs.fields(struct):
        if _is_section(field.type):
            yield from _sections(field.type, (*path, field.name))


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Settings)


def _summary(struct: type[msgspec.Struct]) -> str:
    return (struct.__doc__ or "").split("\n\n")[0]


def _reasons(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The string under each field; a run of fields may share the one under its last."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(definition, ast.ClassDef)
    reasons: dict[str, str] = {}
    waiting: list[str] = []
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            waiting.append(statement.target.id)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            text = " ".join(str(statement.value.value).split()).replace("|", "\\|")
            reasons |= dict.fromkeys(waiting, text)
            waiting = []
    return reasons


def _default(field: msgspec.structs.FieldInfo) -> str:
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return msgspec.json.encode(default).decode() if default is not None else ""  # JSON scalars are TOML's


def asyncapi() -> str:
    """The topics as an AsyncAPI 3 document, message schemas taken from the structs."""
    schemas, components = msgspec.json.schema_components(
        [struct for struct, _ in MESSAGES.values()], ref_template="#/components/schemas/{name}"
    )
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "thermogate",
            "version": VERSION,
            "description": "Topics of thermogate. All at QoS 1. Names are [A-Za-z0-9._-]{1,128}. "
            "Generated by `make docs`; do not edit.",
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages(schemas), "schemas": components},
    }
    return yaml.safe_dump(document, sort_keys=False, width=110)


def _channels() -> dict[str, Any]:
    channels = {
        leaf: _channel(wire.node_topic("{node}", leaf), leaf, {"node": "Name of the node."})
        for leaf in ("telemetry", "event", "status", "ack")
    }
    kinds = "node, job, trial, retrain, ensemble or fleet."
    of_kinds = {
        "gate": (wire.gate_topic, kinds),
        "override": (wire.override_topic, "node, job, group or fleet."),
        "applied": (wire.applied_topic, kinds),
        "request": (wire.request_topic, "job or trial."),
        "signal": (wire.signal_topic, "node."),
    }
    for name, (topic, what) in of_kinds.items():
        names = {"kind": what, "target": "Name of the target."}
        channels[name] = _channel(topic("{kind}", "{target}"), name, names)
    return channels


def _channel(topic: str, message: str, names: dict[str, str]) -> dict[str, Any]:
    return {
        "address": topic,
        "parameters": {name: {"description": what} for name, what in names.items()},
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "description": f"QoS 1, {'retained' if message in RETAINED else 'not retained'}.",
    }


def _operations() -> dict[str, Any]:
    return {
        f"{who}Sends{channel.capitalize()}": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": f"Written by the {who}.",
            "bindings": {"mqtt": {"qos": 1, "retain": channel in RETAINED, "bindingVersion": "0.2.0"}},
        }
        for channel, who in WRITERS.items()
    }


def _messages(schemas: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    messages: dict[str, Any] = {
        "telemetry": {
            "contentType": "text/plain",
            "summary": "One node's sample of all its devices: a comment line, then InfluxDB line protocol.",
            "payload": {"type": "string"},
            "examples": [{"payload": TELEMETRY_EXAMPLE}],
        }
    }
    for (name, (_, what)), schema in zip(MESSAGES.items(), schemas, strict=True):
        messages[name] = {"contentType": "application/json", "summary": what, "payload": schema}
    return messages


def _type(field: Field) -> str:
    return f"{'integer' if field.integer else 'float'}{', counter' if field.counter else ''}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
