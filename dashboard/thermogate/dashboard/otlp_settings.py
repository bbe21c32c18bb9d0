"""Settings of metrics out over OTLP."""

from typing import Annotated

import msgspec

from thermogate.core.config import Settings


class OtlpSettings(Settings, frozen=True):
    """The present of the fleet, pushed to an OpenTelemetry receiver (`pip install 'thermogate[otlp]'`)."""

    endpoint: str = ""
    """Full URL of an OTLP/HTTP receiver, such as https://otel:4318/v1/metrics; empty: nothing is pushed."""
    interval_s: Annotated[float, msgspec.Meta(ge=1)] = 60.0
    """The usual step of what receives OTLP. A push of 8,000 GPUs takes about 4 s of a processor."""
    headers_file: str = ""
    """File of lines NAME: VALUE to send with each request, as a token; not in the configuration itself."""
    ca_file: str = ""
    """Authorities to trust with https; empty: those of the system."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """A request without an answer for this long is given up, as OpenTelemetry's own exporters do."""
