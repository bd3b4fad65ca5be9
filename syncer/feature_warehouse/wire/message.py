"""One row -> its message, by protobuf's own encoder: for whoever has a few rows of Python values, and no Arrow.

``encode`` writes the same bytes for whole columns; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.registry.types import FeatureType, feature_type
from feature_warehouse.wire.decode import EVENT_TIME, days, message_class, microseconds


class MessageWriter:
    """Writes the messages of one feature view version; the inverse of ``Decoder``."""

    def __init__(self, view: FeatureView) -> None:
        """Raises DefinitionError when the view has no valid schema (see ``file_descriptor``)."""
        self._message = message_class(view)
        self._written = {feature.name: _written(feature_type(feature.type)) for feature in view.numbered}

    def write(self, event_time: datetime, values: Mapping[str, Any]) -> bytes:
        """``values``: numbered features in the form in which ``Decoder`` gives them; None, or not named: NULL."""
        given = {name: self._written[name](value) for name, value in values.items() if value is not None}
        message: Any = self._message(**{EVENT_TIME: microseconds(event_time), **given})
        return bytes(message.SerializeToString(deterministic=True))


def _written(type_: FeatureType) -> Callable[[Any], object]:
    """What protobuf takes for a value of Python."""
    if type_.is_list:
        return lambda values: {"values": values}
    written: dict[str, Callable[[Any], object]] = {
        "plain": lambda value: value,
        "integer": str,
        "decimal": _decimal_text,
        "date": days,
        "timestamp": microseconds,
    }
    return written[type_.kind]


def _decimal_text(value: Decimal) -> str:
    return f"{value:f}"  # 0E-10 would be another text of the same number
