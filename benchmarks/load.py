"""Readers under load: latency and throughput of several processes, in a closed and in an open loop.

    python -m benchmarks.load                     generated users, in a Redis of its own
    python -m benchmarks.load --url redis://... --namespace shop_prod --service churn --rows rows.jsonl

``--rows``: entity rows, one JSON object a line, drawn from at random. ``--mix``: how many entities a read asks for, and
how often: '1:90 20:9 200:1'.

Closed loop: each process reads again as soon as it has an answer. That gives the most that can be read, but its
latencies flatter: while one read is slow, no other is asked for (coordinated omission). Open loop: reads are due at
random moments (a Poisson process) at a given rate, whether or not the last one is answered. Each latency counts from
the moment at which the read was due, so that the time that it waited is in it. Rates are given in reads a second over
all processes (``--rates``); default: a quarter, a half and three quarters of what the closed loop reached.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.served import NAMESPACE, build, free_port
from feature_warehouse import FeatureClient
from feature_warehouse.store.embedded import EmbeddedServer

PERCENTILES = (50, 95, 99, 99.9)

#: Reads that a process makes before its clock starts.
WARM_UP = 200


@dataclass(frozen=True)
class Load:
    """What one process does. ``rate``: reads a second, 0 for a closed loop."""

    url: str
    namespace: str
    service: str
    rows: Sequence[dict[str, Any]]
    sizes: Sequence[int]
    weights: Sequence[float]
    seconds: float
    rate: float
    seed: int


@dataclass(frozen=True)
class Outcome:
    """``latencies`` in seconds; ``late``: how long after its end the last read was answered."""

    latencies: list[float]
    entities: int
    late: float


def main() -> None:
    arguments = parsed()
    if arguments.url:
        rows = [json.loads(line) for line in Path(arguments.rows).read_text().splitlines() if line.strip()]
        run(arguments, arguments.url, arguments.namespace, arguments.service, rows)
        return
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(port=free_port()) as server:
        build(Path(folder), arguments.users, server.url)
        rows = [{"user_id": number} for number in range(arguments.users)]
        run(arguments, server.url, NAMESPACE, "churn", rows)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--mix", default="1:90 20:9 200:1")
    parser.add_argument("--rates", default="", help="reads a second: '500 1000'")
    parser.add_argument("--users", type=int, default=100_000, help="of the generated ones")
    for name in ("url", "namespace", "service", "rows"):
        parser.add_argument(f"--{name}", default="")
    arguments = parser.parse_args()
    own = [arguments.url, arguments.namespace, arguments.service, arguments.rows]
    if any(own) and not all(own):
        parser.error("--url, --namespace, --service and --rows go together")
    return arguments


def run(arguments: argparse.Namespace, url: str, namespace: str, service: str, rows: Sequence[dict[str, Any]]) -> None:
    mix = [part.partition(":") for part in arguments.mix.split()]
    sizes, weights = [int(size) for size, _, _ in mix], [float(weight) for _, _, weight in mix]

    def measured(rate: float) -> float:
        loads = [
            Load(url, namespace, service, rows, sizes, weights, arguments.seconds, rate / arguments.processes, seed)
            for seed in range(arguments.processes)
        ]
        with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
            outcomes = pool.map(work, loads, chunksize=1)
        return told(rate, outcomes, arguments.seconds)

    print(f"{arguments.processes} processes, {arguments.seconds:g} s each, entities a read: {arguments.mix}")
    titles = "".join(f"{f'p{percentile:g}':>9}" for percentile in PERCENTILES)
    print(f"  {'loop':<18}{'reads/s':>9}{'entities/s':>12}{titles}  ms")
    most = measured(0)
    for rate in map(float, arguments.rates.split()) if arguments.rates else (most / 4, most / 2, most * 3 / 4):
        measured(rate)


def told(rate: float, outcomes: Sequence[Outcome], seconds: float) -> float:
    """Prints one line; returns the reads a second."""
    latencies = sorted(latency for outcome in outcomes for latency in outcome.latencies)
    took = seconds + max(outcome.late for outcome in outcomes)
    entities = sum(outcome.entities for outcome in outcomes)
    at = [latencies[min(len(latencies) - 1, int(len(latencies) * percentile / 100))] for percentile in PERCENTILES]
    loop = f"open, {rate:,.0f} due/s" if rate else "closed"
    figures = "".join(f"{latency * 1e3:9.3f}" for latency in at)
    # An open loop that cannot keep up has no percentiles: they grow for as long as it runs.
    note = "  overloaded" if rate and max(outcome.late for outcome in outcomes) > seconds / 10 else ""
    print(f"  {loop:<18}{len(latencies) / took:>9,.0f}{entities / took:>12,.0f}{figures}{note}", flush=True)
    return len(latencies) / took


def work(load: Load) -> Outcome:
    """One process: reads until its time is over."""
    choice = random.Random(load.seed)
    drawn = [choice.choices(load.rows, k=size) for size in choice.choices(load.sizes, load.weights, k=2_000)]
    latencies, entities, number = [], 0, 0
    with FeatureClient(load.url, load.namespace) as reader:
        for rows in drawn[:WARM_UP]:
            reader.get_online_features(load.service, rows).to_dict()
        started = due = time.perf_counter()
        while due < started + load.seconds:
            while (wait := due - time.perf_counter()) > 0:
                if wait > 0.001:
                    time.sleep(wait - 0.001)  # the rest is waited for awake: sleep is late by up to that
            rows = drawn[number % len(drawn)]
            reader.get_online_features(load.service, rows).to_dict()
            answered = time.perf_counter()
            latencies.append(answered - due)
            entities += len(rows)
            number += 1
            due = due + choice.expovariate(load.rate) if load.rate else answered
    return Outcome(latencies, entities, max(0.0, answered - started - load.seconds))


if __name__ == "__main__":
    main()
