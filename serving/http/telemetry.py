"""Traces: the steps of each run with their time, kept for the runs page, and told to OpenTelemetry where it is set up.

Names are those of OpenTelemetry's conventions for generative AI; they are still being developed, so they stand here as
texts, and nowhere else. What was asked and answered is never told.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Receive, Scope, Send

from ..._version import __version__
from ...core.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_EXPORTER = "OTEL_TRACES_EXPORTER"
_NO_FAULTS = ("Cancelled", "GraphInterrupt")
"""Exceptions that end a step because somebody wanted it, or because a person is asked."""

_above: ContextVar[int | None] = ContextVar("metier_step_above", default=None)
"""Number of the step that is going on."""
_caller: ContextVar[str | None] = ContextVar("metier_traceparent", default=None)
"""Where in a trace of its own the caller is."""


@dataclass
class TracedStep:
    """Something that a run did."""

    kind: str
    """`route`, `specialist`, `retrieve`, `model`, `tool` …"""
    name: str
    """Of the specialist, model, tool; empty where the kind says it."""
    start: float
    """Seconds since the run began."""
    above: int | None
    """Number of the step that it is a part of."""
    seconds: float = 0.0
    known: dict[str, Any] = field(default_factory=dict)
    """What else is known: tokens, the specialist's version, `error` …"""


class Trace:
    """The steps of one run, in the order in which they began. Parallel specialists may add to it at once."""

    def __init__(self) -> None:
        self.began, self._clock, self._lock = time.time(), time.perf_counter(), threading.Lock()
        self.caller, self.steps = _caller.get(), list[TracedStep]()

    @contextmanager
    def watch(self, kind: str, name: str) -> Iterator[Callable[..., None]]:
        """The `core.run.Tracer` of the run."""
        step = TracedStep(kind, name, time.perf_counter() - self._clock, _above.get())
        with self._lock:
            self.steps.append(step)
            token = _above.set(len(self.steps) - 1)
        try:
            yield step.known.update
        except BaseException as error:
            step.known["error"] = type(error).__name__
            raise
        finally:
            _above.reset(token)
            step.seconds = time.perf_counter() - self._clock - step.start

    def shown(self) -> list[dict[str, Any]]:
        """The steps as the runs page shows them, each with how deep it lies."""
        depths = list[int]()
        for step in self.steps:
            depths.append(0 if step.above is None else depths[step.above] + 1)
        pairs = zip(self.steps, depths, strict=True)
        return [{"kind": s.kind, "name": s.name, "start": s.start, "seconds": s.seconds, "depth": d} for s, d in pairs]


class Telemetry:
    """Tells OpenTelemetry of runs that have ended.

    Args:
        provider: Where spans go; whoever made it shuts it down.

    Raises:
        MissingExtra: without the extra `otel`.
    """

    def __init__(self, provider: TracerProvider) -> None:
        try:
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            raise MissingExtra("opentelemetry", "otel") from None
        self._tracer, self._propagator = provider.get_tracer("metier", __version__), TraceContextTextMapPropagator()

    def tell(self, trace: Trace, team: str, known: Mapping[str, Any], error: BaseException | None = None) -> None:
        """One run: `invoke_workflow TEAM`, and its steps below.

        Args:
            trace: Its steps.
            team: The team's name.
            known: Attributes of the run.
            error: Why it failed.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context

        spans, contexts = list[Any](), list[Any]()
        above = self._propagator.extract({"traceparent": trace.caller} if trace.caller else {})
        attributes = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": team, **known}
        begin = {"context": above, "attributes": attributes, "start_time": _nanoseconds(trace.began)}
        run = self._tracer.start_span(f"invoke_workflow {team}", kind=SpanKind.SERVER, **begin)
        around = set_span_in_context(run, above)
        for step in trace.steps:
            name, attributes = _named(step)
            inside = around if step.above is None else contexts[step.above]
            at = _nanoseconds(trace.began + step.start)
            span = self._tracer.start_span(name, context=inside, attributes=attributes, start_time=at)
            spans.append(span)
            contexts.append(set_span_in_context(span, inside))
        for span, step in zip(spans, trace.steps, strict=True):
            _end(span, trace.began + step.start + step.seconds, step.known.get("error"))
        _end(run, time.time(), type(error).__name__ if error else None)


def _named(step: TracedStep) -> tuple[str, dict[str, Any]]:
    """A span's name and attributes."""
    known = step.known
    told: dict[str, Any] = {"gen_ai.usage.input_tokens": known.get("input_tokens")}
    told["gen_ai.usage.output_tokens"] = known.get("output_tokens")
    operation, attribute = _OPERATIONS.get(step.kind, ("", ""))
    if not operation:
        return f"metier.{step.kind}", {}
    told |= {"gen_ai.operation.name": operation, attribute: step.name}
    if step.kind == "specialist":
        told |= {"gen_ai.agent.version": known.get("version"), "metier.answer.kind": known.get("answer")}
        told |= {"metier.answer.confidence": known.get("confidence"), "metier.handoff.to": known.get("handoff")}
    elif step.kind == "model":
        told["gen_ai.provider.name"] = _PROVIDERS.get(known.get("provider", ""), known.get("provider"))
        told["gen_ai.response.finish_reasons"] = [known["finish"]] if known.get("finish") else None
    elif step.kind == "tool":
        told["gen_ai.tool.type"] = "function"
    return f"{operation} {step.name}".strip(), {name: value for name, value in told.items() if value is not None}


_OPERATIONS = {
    "specialist": ("invoke_agent", "gen_ai.agent.name"),
    "model": ("chat", "gen_ai.request.model"),
    "tool": ("execute_tool", "gen_ai.tool.name"),
    "retrieve": ("retrieval", "gen_ai.data_source.id"),
    "embed": ("embeddings", "gen_ai.request.model"),
}
"""Kind of a step to the operation's name, and the attribute that names what works."""
_PROVIDERS = {"remote": "openai", "llama": "llama.cpp"}
"""Engines that the field knows under another name; `openai` is whatever speaks its protocol."""


def _end(span: Any, at: float, error: Any) -> None:
    from opentelemetry.trace import StatusCode

    if error and error not in _NO_FAULTS:
        span.set_attribute("error.type", error if isinstance(error, str) else "_OTHER")
        span.set_status(StatusCode.ERROR)
    span.end(_nanoseconds(at))


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


@contextmanager
def telemetry_of_environment() -> Iterator[Telemetry | None]:
    """What OpenTelemetry's own variables ask for; None, and no connection, where they ask for nothing.

    `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) sends spans there over HTTP, `OTEL_TRACES_EXPORTER=console`
    prints them. The SDK reads its other variables by itself: headers, sampler, resource.

    Raises:
        ConfigError: another exporter is named.
        MissingExtra: without the extra `otel`.
    """
    named = os.environ.get(_EXPORTER, "otlp" if any(os.environ.get(name) for name in _ENDPOINTS) else "none")
    if named == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield None
        return
    if named not in ("otlp", "console"):
        raise ConfigError(f"no exporter '{named}': otlp, console or none", field=_EXPORTER)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider as Provider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError as error:
        raise MissingExtra(error.name or "opentelemetry", "otel") from None
    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "metier")})
    provider = Provider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter() if named == "console" else OTLPSpanExporter()))
    try:
        yield Telemetry(provider)
    finally:
        provider.shutdown()


class FollowCaller:
    """Middleware: runs belong to the trace of whoever sent the request (`traceparent`)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            _caller.set(headers.get(b"traceparent", b"").decode("latin-1") or None)
        await self._app(scope, receive, send)
