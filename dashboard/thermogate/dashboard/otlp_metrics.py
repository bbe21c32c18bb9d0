"""The present as OTLP requests, made with OpenTelemetry's own messages.

Not with its SDK: that speaks for one host (a resource) a process, where we speak for every node, and takes
27 us a value, twice as long.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Metric,
    ResourceMetrics,
)

from thermogate.core import __version__
from thermogate.core.schema import DEVICE_KINDS, MEASUREMENTS
from thermogate.dashboard.otlp_names import OtlpName, otlp_name
from thermogate.dashboard.present import Live, Present

_NODES = 64
"""In one request: about 1.5 MB before compression with 8 GPUs each; receivers take 4 to 20 MiB."""

_NAMES = {
    (kind, field.name): otlp_name(kind, field) for kind, m in MEASUREMENTS.items() for field in m.fields
}
_GZIP = 16 + zlib.MAX_WBITS

NodeLive = Mapping[str, Sequence[Live]]


def requests(present: Present) -> Iterator[bytes]:
    """Requests, compressed with gzip, that together tell everything that is live."""
    nodes: dict[str, dict[str, list[Live]]] = {}
    for kind, live in present.live.items():
        for one in live:
            nodes.setdefault(one.point.node, {}).setdefault(kind, []).append(one)
    names = list(nodes)
    for start in range(0, len(names), _NODES):
        request = ExportMetricsServiceRequest()
        for node in names[start : start + _NODES]:
            _add_node(request.resource_metrics.add(), node, nodes[node])
        packer = zlib.compressobj(1, wbits=_GZIP)
        yield packer.compress(request.SerializeToString()) + packer.flush()


def rejected(answer: bytes) -> str:
    """What a receiver says that it did not take of a request that it took; "" for nothing."""
    response = ExportMetricsServiceResponse()
    try:
        response.ParseFromString(answer)
    except DecodeError:
        return ""
    partial = response.partial_success
    if not partial.rejected_data_points:
        return ""
    return f"{partial.rejected_data_points} values rejected: {partial.error_message[:200]!r}"


def _add_node(into: ResourceMetrics, node: str, live: NodeLive) -> None:
    origin = next((one.point.origin for of_kind in live.values() for one in of_kind), "")
    told = {"host.name": node, "service.name": "thermogate", "thermogate.origin": origin}
    into.resource.attributes.extend(_attributes(told))
    scope = into.scope_metrics.add()
    scope.scope.name, scope.scope.version = "thermogate", __version__
    metrics: dict[str, Metric] = {}
    for kind, of_kind in live.items():
        for one in of_kind:
            _add_sample(metrics, kind, one)
    scope.metrics.extend(metrics.values())


def _add_sample(metrics: dict[str, Metric], kind: str, one: Live) -> None:
    attributes: dict[object, list[KeyValue]] = {}
    for field, value in one.point.fields.items():
        name = _NAMES.get((kind, field))
        if name is None:
            continue
        metric = metrics.get(name.name)
        if metric is None:
            metric = metrics[name.name] = _new(name)
        key = (name.part, tuple(name.attributes.items()))
        if key not in attributes:
            attributes[key] = _attributes(_component(kind, one, name))
        data = metric.gauge if name.kind == "gauge" else metric.sum
        data.data_points.add(time_unix_nano=one.point.time_ns, as_double=value, attributes=attributes[key])


def _new(name: OtlpName) -> Metric:
    metric = Metric(name=name.name, unit=name.unit)
    if name.kind != "gauge":
        metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        metric.sum.is_monotonic = name.kind == "counter"
    return metric


def _component(kind: str, one: Live, name: OtlpName) -> dict[str, str]:
    if kind not in DEVICE_KINDS:
        return {"hw.id": kind, **name.attributes} if name.name.startswith("hw.") else name.attributes
    device = f"{kind}{one.point.device}"
    who = {"hw.id": f"{device}.{name.part}", "hw.parent": device} if name.part else {"hw.id": device}
    told = {"hw.type": kind, "hw.model": one.point.model, "hw.name": one.info.name if one.info else ""}
    return {**who, **({} if name.part else told), **name.attributes}


def _attributes(pairs: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in pairs.items() if text]
