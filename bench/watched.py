"""Measure what it costs to be watched: refreshes and profiles with metrics, and with metrics and traces, beside a plain service.

Real services on one core take turns at the same load. Two processes of the same code can differ by three percent for as long as
they live, so all services are started again many times.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated

import typer

from .load import cores, on_core, run
from .people import Person, Seen, Way, clients, move_in, profile, refresh
from .report import AsJson, Cell, Promise, Table, progress, quartiles, show
from .service import Service, temporary_folder

_CLIENTS = 16
_TURNS, _TURN_S = 10, 0.15
_PLAIN, _METRICS, _ALL, _OFTEN = "plain", "metrics", "metrics and traces", "the same, 1 in 100"
_RECORDED = {_ALL: "0.001", _OFTEN: "0.01"}
"""The share of requests of which a trace is recorded."""
_WAYS: Mapping[str, Way] = {"refresh": refresh, "profile": profile}
_PROMISED = (("refresh", _METRICS, 2), ("refresh", _ALL, 5), ("profile", _ALL, 5))
"""What may be how many percent dearer, and with what."""
_COLUMNS = ("", "", "µs", "% more", "lower quartile", "upper quartile", "standard error")


def main(
    *,
    starts: Annotated[int, typer.Option(help="How often all services are started.", min=4)] = 24,
    as_json: AsJson = False,
) -> None:
    """Print by how much a refresh and a profile are dearer."""
    names = (_PLAIN, _METRICS, _ALL, _OFTEN)
    took: dict[tuple[str, str], list[float]] = {(kind, name): [] for kind in _WAYS for name in names}
    with _collector() as endpoint:
        for number in range(starts):
            progress(f"being watched: start {number + 1} of {starts}")
            shift = number % len(names)
            with _services((*names[shift:], *names[:shift]), endpoint) as services:
                for kind in _WAYS:
                    for name, us in _take_turns(services, _WAYS[kind]).items():
                        took[kind, name].append(us)
    rows: list[tuple[Cell, ...]] = []
    more: dict[tuple[str, str], float] = {}
    for (kind, name), mine in took.items():
        percent = [100 * (one / plain - 1) for one, plain in zip(mine, took[kind, _PLAIN], strict=True)]
        lower, _, upper = quartiles(percent)
        more[kind, name] = statistics.mean(percent)
        error = statistics.stdev(percent) / len(percent) ** 0.5
        compared: tuple[Cell, ...] = ("", "", "", "") if name == _PLAIN else (more[kind, name], lower, upper, error)
        rows.append((kind if name == _PLAIN else "", name, quartiles(mine)[1], *compared))
    show(
        "watched",
        notes=(
            f"Processor time of a real service for one request of {_CLIENTS} clients, with the export of its traces.",
            f"Means over {starts} starts of all services; in each, {_TURNS} turns. One request in 1,000 is recorded as a trace.",
        ),
        tables=(Table("Being watched", _COLUMNS, rows),),
        promises=[
            Promise(f"{kind} with {name}", f"{more[kind, name]:.1f} % more", f"≤ {most} %", more[kind, name] <= most)
            for kind, name, most in _PROMISED
        ],
        packages=("prometheus-client", "opentelemetry-sdk"),
        as_json=as_json,
    )


@contextmanager
def _services(names: tuple[str, ...], endpoint: str) -> Iterator[dict[str, tuple[Service, list[Person]]]]:
    """Run services with their people, all on one core and this process on another."""
    its_core, own_core = cores()
    with ExitStack() as stack:
        running = {}
        for name in names:
            settings = {} if name == _PLAIN else {"HANDSTAMP_METRICS_ADDRESS": "credential"}
            if name in _RECORDED:
                settings |= {
                    "OTEL_TRACES_EXPORTER": "otlp",
                    "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                    "OTEL_TRACES_SAMPLER_ARG": _RECORDED[name],
                }
            service = Service(stack.enter_context(temporary_folder()), settings=settings)
            people = asyncio.run(move_in(service, _CLIENTS))
            with on_core(its_core):
                stack.enter_context(service)
            running[name] = service, people
        stack.enter_context(on_core(own_core))
        yield running


def _take_turns(services: Mapping[str, tuple[Service, list[Person]]], way: Way) -> dict[str, float]:
    """Return the microseconds of the processor for one operation, by service. The first turns do not count."""
    turns: dict[str, list[float]] = {name: [] for name in services}
    order = list(services)
    for _ in range(_TURNS + 1):
        order.append(order.pop(0))
        for name in order:
            service, people = services[name]
            before_s = service.thread_s()
            seen = run(service.port, {"": clients(way, people, Seen(), count=_CLIENTS)}, seconds=_TURN_S)[""]
            turns[name].append(1e6 * (service.thread_s() - before_s) / seen.ended)
    return {name: statistics.median(mine[1:]) for name, mine in turns.items()}


@contextmanager
def _collector() -> Iterator[str]:
    """Run a collector that takes traces and forgets them. Yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take what a service exports."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Log nothing."""


if __name__ == "__main__":
    typer.run(main)
