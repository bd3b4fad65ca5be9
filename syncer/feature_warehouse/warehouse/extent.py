"""The extent of a feature: how many of its values are NULL, and from where to where the others reach.

Taken from the rows of a view as they pass on their way to the encoder, so that nothing is read twice. Exact: integers
and decimals stay what they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.registry.types import INTEGER_RANGES


@dataclass(slots=True)
class Extent:
    """Of all rows so far. ``smallest`` and ``largest``: int, float or Decimal, NaN left out; None: no number."""

    nulls: int = 0
    nans: int = 0
    smallest: Any = None
    largest: Any = None

    def add(self, column: pa.Array, type_: str) -> None:
        """``type_``: the canonical type of the feature, which a hugeint shares with no type of Arrow's."""
        self.nulls += column.null_count
        if type_ in INTEGER_RANGES and not pa.types.is_integer(column.type):  # it came as text
            numbers = [int(text) for text in column.drop_null().to_pylist()]
            found = [min(numbers), max(numbers)] if numbers else []
        elif pa.types.is_integer(column.type) or pa.types.is_decimal(column.type) or pa.types.is_floating(column.type):
            if pa.types.is_floating(column.type):
                no_number = pc.is_nan(column)
                self.nans += pc.sum(no_number).as_py() or 0
                column = column.filter(pc.invert(no_number))
            ends = pc.min_max(column).as_py()
            found = [end for end in (ends["min"], ends["max"]) if end is not None]
        else:
            return
        if found:
            self.smallest = found[0] if self.smallest is None else min(self.smallest, found[0])
            self.largest = found[-1] if self.largest is None else max(self.largest, found[-1])


class Extents:
    """The extents of some features of a view."""

    def __init__(self, view: FeatureView, features: Collection[str]) -> None:
        self._types = {feature.name: feature.type for feature in view.numbered if feature.name in features}
        self.found = {name: Extent() for name in self._types}

    def noted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same batches, looked at."""
        for batch in batches:
            for name, extent in self.found.items():
                position = batch.schema.get_field_index(name)
                if position >= 0:  # else the encoder says so
                    extent.add(batch.column(position), self._types[name])
            yield batch
