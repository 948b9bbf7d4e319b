"""OpenTelemetry: each call as a trace, with a span for each turn and each of its stages. Off unless it was started.

Spans are made when a turn is over, from the times that the conversation has kept, and are sent by a greenlet of their
own. Without words, numbers or names of callers: those stay in the records.
"""

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from voice.core import events as ev
from voice.metrics.counting import steps

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.trace import Tracer

_PATH = "/v1/traces"
_SEND_TIMEOUT_S = 5.0
_SEND_EVERY_MS = 2000
_BATCH = 32
"""Spans: to put so many into one request keeps the hub for two milliseconds."""
_WAITING = 4096
"""Spans; more are dropped."""
_TELL_EVERY_S = 300.0

_log = logging.getLogger("voice.tracing")


class Tracing:
    """One for each worker."""

    def __init__(self, endpoint: str | None, headers: Mapping[str, str], service_name: str) -> None:
        """`endpoint`: a collector's base address for OTLP over HTTP, None: nothing is traced. `headers` go with every
        request."""
        self._endpoint = endpoint
        self._headers = headers
        self._service_name = service_name
        self._provider: "TracerProvider | None" = None

    def start(self) -> None:
        """Nothing of OpenTelemetry is imported before, and nothing ever without an endpoint."""
        if self._endpoint is None:
            return
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        global _tracer
        # It would tell of each try, with its stack.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        exporter: Any = _Sender(
            OTLPSpanExporter(endpoint=self._endpoint + _PATH, headers=dict(self._headers), timeout=_SEND_TIMEOUT_S)
        )
        processor = BatchSpanProcessor(
            exporter, max_queue_size=_WAITING, schedule_delay_millis=_SEND_EVERY_MS, max_export_batch_size=_BATCH
        )
        resource = Resource.create({"service.name": self._service_name})
        ids: Any = _ids
        self._provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        _tracer = self._provider.get_tracer("voice")

    def stop(self, within_s: float) -> None:
        """Send what waits. A collector that does not answer is left behind."""
        global _tracer
        _tracer = None
        if self._provider is not None:
            sent = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
            sent.start()
            sent.join(within_s)


class CallTrace:
    """One stream of a call; all streams of a call are in one trace."""

    def __init__(self, tracer: "Tracer", call_sid: str, attributes: Mapping[str, str]) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import set_span_in_context

        self._tracer = tracer
        self._sid = {"voice.call_sid": call_sid}
        _ids.trace_id = trace_id(call_sid)
        self._span = tracer.start_span("call", Context(), attributes={**self._sid, **attributes})
        self._within: Callable[[Any], Context] = lambda span: set_span_in_context(span, Context())

    def turn(self, turn: ev.RecordTurn, began: float, now: float) -> None:
        """A turn that is over; its times count from `began`, seconds since the epoch, as does `now` from it."""
        times = turn.times
        reached = [at for at in vars(times).values() if at is not None]
        attributes: dict[str, str | int] = {**self._sid, "voice.turn": turn.turn, "voice.cut": turn.cut}
        span = self._tracer.start_span(
            "turn",
            self._within(self._span),
            attributes=attributes,
            start_time=_ns(began + min(reached, default=now)),
        )
        for stage, begin, end in steps(times):
            part = self._tracer.start_span(
                stage, self._within(span), attributes=attributes, start_time=_ns(began + begin)
            )
            part.end(_ns(began + end))
        span.end(_ns(began + now))

    def note(self, what: str, **attributes: str | int) -> None:
        """A moment of the call, now."""
        self._span.add_event(what, attributes)

    def ended(self, end: ev.EndCall) -> None:
        self._span.set_attributes({"voice.result": end.result, "voice.reason": end.reason})
        self._span.end()


def begin(call_sid: str, **attributes: str) -> CallTrace | None:
    """None when nothing is traced."""
    if _tracer is None:
        return None
    return CallTrace(_tracer, call_sid, {f"voice.{name}": value for name, value in attributes.items()})


def trace_id(call_sid: str) -> int:
    """The same at every worker, and for whoever looks for the trace of a call: half of its sid's SHA-256."""
    return int.from_bytes(hashlib.sha256(call_sid.encode()).digest()[:16], "big")


class _Ids:
    """OpenTelemetry asks for a trace's id when a span without a parent begins, in the greenlet that begins it."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return secrets.randbits(64) or 1

    def is_trace_id_random(self) -> bool:
        return True


class _Sender:
    """The exporter, and a word in the log when it fails, and when it does no more."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self._told_at: float | None = None

    def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
        result: "SpanExportResult" = self._exporter.export(spans)
        now = time.monotonic()
        if result.name == "SUCCESS":
            if self._told_at is not None:
                _log.warning("the collector of traces takes spans again")
            self._told_at = None
        elif self._told_at is None or now - self._told_at > _TELL_EVERY_S:
            self._told_at = now
            _log.warning("the collector of traces does not take our spans: they are lost, and calls go on")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


def _ns(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


_ids = _Ids()
_tracer: "Tracer | None" = None
