"""What on-demand features and the served log cost a reader: `python -m benchmarks.ondemand`.

Milliseconds, the median of many runs in this process. Evaluation alone: two expressions over three request values and
features, from Python's values to Python's values. The log: what a read pays to leave its rows to the writer's thread,
with every row logged and one in a hundred.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import datetime, timezone

from feature_warehouse.client.ondemand import OnDemand
from feature_warehouse.client.served import ServedLog, ServedRow, ServedView, ServedWriter
from feature_warehouse.registry.feature import FeatureService, OnDemandFeature

NOON = datetime(2013, 1, 31, 12, tzinfo=timezone.utc)

SERVICE = FeatureService(
    name="departure_delay",
    version=3,
    views=(),
    request={"distance_miles": "double", "altitude_ft": "integer", "leaves_at": "timestamptz"},
    on_demand=(
        OnDemandFeature("departure_hour", "bigint", "extract(hour from leaves_at)"),
        OnDemandFeature("climb_per_mile", "double", "altitude_ft / distance_miles"),
    ),
)


class Nowhere:
    """A stream that forgets."""

    def append(self, entries: object, rows: int) -> None:
        """Costs the writer's thread nothing."""

    def close(self) -> None:
        """Nothing to close."""


def median_ms(work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times + 20):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[20:]) * 1e3


def main() -> None:
    computed = OnDemand(SERVICE, {})
    for rows in (1, 100, 1_000, 10_000):
        columns = {"distance_miles": [300.0] * rows, "altitude_ft": [18] * rows, "leaves_at": [NOON] * rows}

        def evaluate(columns: dict[str, list[object]] = columns, rows: int = rows) -> object:  # type: ignore[assignment]
            return computed.compute(columns, rows)

        print(f"two expressions, {rows:>6,} rows   {median_ms(evaluate, 300 if rows < 1_000 else 20):8.3f} ms")
    row = ServedRow(NOON, {"carrier": "UA"}, {f"f{i}": i / 7 for i in range(30)}, [ServedView(NOON, NOON)] * 3)
    for sample in (1.0, 0.01):
        writer = ServedWriter(Nowhere, ServedLog(sample=sample))

        def leave(writer: ServedWriter = writer) -> None:
            chosen = writer.sampled(1)
            if chosen:
                writer.add("log", [row], 1)

        print(f"log, sample {sample:<5}              {median_ms(leave, 5_000):8.4f} ms")
        writer.close()


if __name__ == "__main__":
    main()
