"""A collector of OpenTelemetry traces on 127.0.0.1: takes OTLP over HTTP and keeps what it got."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gevent.pywsgi import WSGIServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Got:
    name: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    begin_s: float
    end_s: float
    attributes: dict[str, Any]
    events: dict[str, dict[str, Any]]
    service: str


class Collector:
    """Use as a context manager."""

    def __init__(self) -> None:
        self.spans: list[Got] = []
        self.headers: list[dict[str, str]] = []
        self._server = WSGIServer(("127.0.0.1", 0), self._app, log=None)

    def __enter__(self) -> "Collector":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def of(self, call_sid: str, name: str | None = None) -> list[Got]:
        """Spans of this call, in the order of their beginning."""
        found = [span for span in self.spans if span.attributes.get("voice.call_sid") == call_sid]
        return sorted((s for s in found if name in (None, s.name)), key=lambda span: span.begin_s)

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        assert environ["PATH_INFO"] == "/v1/traces" and environ["CONTENT_TYPE"] == "application/x-protobuf"
        self.headers.append({k[5:].lower(): v for k, v in environ.items() if k.startswith("HTTP_")})
        request = ExportTraceServiceRequest.FromString(environ["wsgi.input"].read())
        for resource in request.resource_spans:
            service = _plain(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_got(span, service) for span in scope.spans]
        # A connection that was kept would go on after `stop`.
        start_response("200 OK", [("Content-Type", "application/x-protobuf"), ("Connection", "close")])
        return [b""]


def _got(span: Any, service: str) -> Got:
    return Got(
        span.name,
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        _plain(span.attributes),
        {event.name: _plain(event.attributes) for event in span.events},
        service,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
