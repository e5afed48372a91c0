"""`/metrics`: what the server does, as Prometheus reads it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..._version import __version__
from ...agents.drift import operation_figures
from .run import Run
from .runs import RunService

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_DRIFT_SECONDS = 60.0
_STAGES = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ServerMetrics:
    """The figures of one server: each app has its own, so that several can live in one process.

    Args:
        runs: Whose load is shown.
    """

    def __init__(self, runs: RunService) -> None:
        self.registry = registry = CollectorRegistry()
        GCCollector(registry)
        ProcessCollector(registry=registry)
        registry.register(_Load(runs))
        registry.register(_Drift(runs))
        made = Gauge("metier_info", "What runs here; always 1.", ["version", "team"], registry=registry)
        made.labels(__version__, runs.team.card.name).set(1)
        self._requests = Counter(
            "metier_requests", "HTTP requests that were answered.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "metier_request_seconds", "From a request to the last byte of its response.", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._runs = Counter("metier_runs", "Runs that ended or wait for a person.", ["status"], registry=registry)
        self._run_seconds = Histogram(
            "metier_run_seconds", "From accepting a run to its end.", buckets=_SECONDS, registry=registry
        )
        self._stages = Histogram(
            "metier_stage_seconds", "Seconds of a run by stage.", ["stage"], buckets=_STAGES, registry=registry
        )
        self._tokens = Counter("metier_tokens", "Tokens of the model.", ["specialist", "direction"], registry=registry)
        self._answers = Counter(
            "metier_answers", "Answers by who gave them and their kind: answer, abstain, clarify, waiting.",
            ["specialist", "kind"], registry=registry,
        )  # fmt: skip
        self._routes = Counter(
            "metier_routes", "Tasks, or parts of them, by whom the router gave them to.", ["specialist", "decision"],
            registry=registry,
        )  # fmt: skip

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def ended(self, run: Run) -> None:
        """A run ended, or waits for a person."""
        self._runs.labels(run.status).inc()
        if run.ended_at is not None:
            self._run_seconds.observe(max(0.0, run.ended_at - run.created_at))
        answer = run.answer
        if answer is None or run.status not in ("completed", "requires_action"):
            return
        name = "several" if ", " in (answer.specialist or "") else answer.specialist or ""
        self._answers.labels(name, answer.kind).inc()
        self._tokens.labels(name, "input").inc(answer.usage.input_tokens)
        self._tokens.labels(name, "output").inc(answer.usage.output_tokens)
        for stage, seconds in answer.timings.items():
            self._stages.labels(stage).observe(seconds)
        if answer.route:
            for who in [part.specialist for part in answer.route.parts] or [""]:
                self._routes.labels(who, answer.route.decision).inc()


class _Load(Collector):
    """How much is at work at the moment of asking."""

    def __init__(self, runs: RunService) -> None:
        self._runs = runs

    def collect(self) -> Iterable[Metric]:
        """What `/metrics` shows of it."""
        runs, working = self._runs, self._runs.working
        yield GaugeMetricFamily("metier_runs_in_progress", "Runs that are worked on.", working)
        yield GaugeMetricFamily("metier_runs_queued", "Runs that wait for a worker.", runs.active - working)
        yield GaugeMetricFamily("metier_workers", "Runs that can be worked on at the same time.", runs.workers)
        yield GaugeMetricFamily("metier_queue_size", "Runs that may wait before callers get 429.", runs.queue)
        yield GaugeMetricFamily("metier_draining", "1 while the server is about to end.", float(runs.draining))


class _Drift(Collector):
    """What `metier watch` tells, looked at once a minute at most."""

    def __init__(self, runs: RunService) -> None:
        self._runs, self._at, self._figures = runs, float("-inf"), list[tuple[str, str, float]]()

    def describe(self) -> Iterable[Metric]:
        """Nothing is looked at before somebody asks."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """What `/metrics` shows of it."""
        if time.monotonic() - self._at > _DRIFT_SECONDS:
            team = self._runs.team
            with team.present() as loaded:
                self._figures = operation_figures(loaded.plan, team.answers, loaded.router)
            self._at = time.monotonic()
        drift = GaugeMetricFamily("metier_drift", "1 where `metier watch` tells a change.", labels=["what"])
        seen = GaugeMetricFamily("metier_watched", "Turns, or changed documents, that it looked at.", labels=["what"])
        families: dict[str, GaugeMetricFamily] = {family.name: family for family in (drift, seen)}
        for name, what, value in self._figures:
            families[name].add_metric([what], value)
        yield from families.values()


class Measured:
    """Middleware: counts requests and their time, by route and never by path, of which there is no end."""

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            self._metrics.requested(method, _route(scope), status, time.perf_counter() - start)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _route(scope: Scope) -> str:
    """`/v1/runs/{run_id}`; of what other protocols and the page's files have, their first part."""
    route = scope.get("route")
    return getattr(route, "path", None) or scope.get("root_path") or "other"


def add_metrics(app: FastAPI, runs: RunService) -> None:
    """`/metrics`, and whatever fills it."""
    metrics = ServerMetrics(runs)
    runs.on_ended.append(metrics.ended)
    app.add_middleware(Measured, metrics=metrics)

    @app.get("/metrics", tags=["server"], response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def show_metrics(request: Request) -> Response:
        """Requests, seconds by stage, tokens, queue, abstentions and routes by specialist, for Prometheus."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), media_type=content_type)
