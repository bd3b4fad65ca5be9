"""Messages: their schema as protobuf descriptors and as `.proto` text, and message bytes -> Python values.

One message per feature view version: field 1 the event time, then the numbered features, all `optional`, so that NULL
is absence and 0 is a value (docs/wire-format.md, "Message"). The schema is built at run time from the facts, in a
descriptor pool of its own; there is no generated code. Knows only the `protobuf` library; ``encode`` writes the same
bytes without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple, get_args

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from feature_warehouse.errors import DefinitionError, StoreError
from feature_warehouse.registry.feature import FeatureView
from feature_warehouse.registry.types import INTEGER_RANGES, LIST_MESSAGES, FeatureType, Kind, Proto, feature_type

PACKAGE = "feature_warehouse"

#: Field 1 of every message: microseconds since the epoch, UTC.
EVENT_TIME = "event_time"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


def _list(message: Any) -> list[object]:
    return list(message.values)


def _date(since_epoch: int) -> date:
    return date.fromordinal(_EPOCH_ORDINAL + since_epoch)


def days(day: date) -> int:
    """Days since the epoch."""
    return day.toordinal() - _EPOCH_ORDINAL


def instant(since_epoch: int) -> datetime:
    """Microseconds since the epoch as a datetime in UTC. Raises OverflowError beyond the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=since_epoch)


def microseconds(time: datetime) -> int:
    """The inverse of ``instant``."""
    since = time - _EPOCH  # in whole numbers: quicker than to divide by a timedelta, and as exact
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


#: The event times that there are: the years 1 to 9999.
_FIRST, _LAST = (microseconds(end.replace(tzinfo=timezone.utc)) for end in (datetime.min, datetime.max))


_PYTHON: dict[Kind, Callable[..., object]] = {
    "decimal": Decimal,
    "integer": int,
    "date": _date,
    "timestamp": instant,
}

_PROTO_NUMBERS = {name: FieldDescriptorProto.Type.Value(f"TYPE_{name.upper()}") for name in get_args(Proto)}


class Decoder:
    """Reads the messages of one feature view version, old ones and newer ones too."""

    def __init__(self, view: FeatureView) -> None:
        """Raises DefinitionError when the view has no valid schema (see ``file_descriptor``)."""
        self.view = view
        self._message = message_class(view)
        types = [(feature.name, feature_type(feature.type)) for feature in view.numbered]
        self._absent: dict[str, Any] = dict.fromkeys(name for name, _ in types)
        self._converted = [(name, _reader(type_)) for name, type_ in types if type_.is_list or type_.kind != "plain"]
        self._valid = [(name, valid) for name, type_ in types if (valid := _valid(type_))]

    def decode(self, message: bytes) -> tuple[datetime, dict[str, object]]:
        """(event time in UTC, feature -> value or None); every numbered feature of the view is there, by field number.

        A feature that the message does not carry (NULL, or an older message) is None; a field that the view does not
        know (a newer message) is skipped. Decimals are Decimal with their scale, timestamps are datetimes in UTC.

        Raises StoreError, naming the view, when the bytes are no message of this view: torn, empty or foreign.
        """
        try:
            present = self._message.FromString(message).ListFields()
            values = self._absent | {field.name: value for field, value in present}
            if EVENT_TIME not in values:
                raise ValueError("it has no event time")
            event_time = instant(values.pop(EVENT_TIME))
            for name, valid in self._valid:
                if values[name] is not None and not valid.one(values[name]):
                    raise ValueError(f"'{name}' holds what its type cannot have")
            for name, python in self._converted:
                if values[name] is not None:
                    values[name] = python(values[name])
            return event_time, values
        except (DecodeError, ValueError, ArithmeticError) as error:
            raise StoreError(
                f"a message of {self.view.id} in Redis cannot be read ({len(message)} bytes): {error}",
                f"compare and repair it with `syncer verify --select {self.view.name}`",
            ) from error


@dataclass(slots=True)  # not frozen, which takes three times as long to make: every read makes some
class Columns:
    """What N messages hold: the event times in microseconds since the epoch, and a column of N values per feature.

    A column is a list, or a sequence of protobuf's; ``column[:]`` is a list either way.
    """

    event_times: Sequence[int]
    features: Sequence[Sequence[Any]]


class BatchDecoder:
    """Reads some features of many messages of one feature view version at once.

    To protobuf, messages that stand one after the other are one message, whose repeated fields hold the values of all
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins). So N messages are parsed by one call, with a
    schema in which every field is repeated: each is then a column. A column of fewer than N values has NULLs; which
    rows they are in, the messages themselves tell. Behind each message stands a mark of our own; a torn message would
    swallow it, and then each message is read by itself. This rests on what the wire format says of a message: each
    field comes at most once.
    """

    def __init__(self, view: FeatureView, features: Sequence[str]) -> None:
        """``features``: names of numbered features, in the order of the columns. Raises DefinitionError."""
        read = set(features)
        wanted = {feature.name: feature for feature in view.numbered if feature.name in read}
        self._names = (EVENT_TIME, *features)
        only = replace(view, features=tuple(wanted.values()))  # the others may be of types that only newer readers know
        self._message = message_class(only)
        self._rows = _rows_class(self._message)
        self._every = attrgetter(*self._names) if features else lambda message: (message.event_time,)
        types = [(i, feature_type(wanted[name].type)) for i, name in enumerate(features, 1)]
        self._readers = {i: _reader(type_) for i, type_ in types if type_.is_list or type_.kind != "plain"}
        self._valid = [(i, valid) for i, type_ in types if (valid := _valid(type_))]
        self._lists = {i for i, type_ in types if type_.is_list}  # an absent one reads as an empty message
        self._one_by_one = Decoder(only)

    def decode(self, messages: Sequence[bytes], keys: Sequence[bytes]) -> Columns:
        """The columns of N messages. ``keys``: where each was found.

        Raises StoreError, naming view and key, for bytes that are no message of this view.
        """
        try:
            return self._decode_few(messages) if len(messages) < _FEW else self._decode_many(messages)
        except (DecodeError, ValueError, ArithmeticError):
            return self._decode_each(messages, keys)

    def _decode_many(self, messages: Sequence[bytes]) -> Columns:
        rows: Any = self._rows.FromString(_END.join(messages) + _END)
        count = len(messages)
        if not count == len(getattr(rows, _END_NAME)) == len(rows.event_time):
            raise ValueError("a message is torn, or has no event time")
        columns: list[Any] = list(self._every(rows))
        if not all(valid.all(columns[i]) for i, valid in self._valid):
            raise ValueError("a value is none of its type")
        for i, python in self._readers.items():
            columns[i] = list(map(python, columns[i]))
        each: list[Any] = []
        for i, column in enumerate(columns):
            if len(column) != count:
                each = each or [self._message.FromString(message) for message in messages]
                present = [message.HasField(self._names[i]) for message in each]
                if sum(present) != len(column):
                    raise ValueError("a message has a field twice")
                values = iter(column)
                columns[i] = [next(values) if there else None for there in present]
        event_times = columns[0][:]
        if min(event_times) < _FIRST or max(event_times) > _LAST:
            raise ValueError("there is no such time")
        return Columns(event_times, columns[1:])

    def _decode_few(self, messages: Sequence[bytes]) -> Columns:
        rows: list[Sequence[Any]] = []
        for bytes_ in messages:
            message = self._message.FromString(bytes_)
            row: Sequence[Any] = self._every(message)
            if not all(row) or self._readers or self._valid:
                row = self._read(message, list(row))
            if row[0] is None or not _FIRST <= row[0] <= _LAST:
                raise ValueError("it has no event time, or one that is none")
            rows.append(row)
        return _columns(rows, self._names)

    def _read(self, message: Any, row: list[Any]) -> list[Any]:
        """``row`` with what its fields stand for: None for one that is absent."""
        # What is absent reads as its type's default: 0, the empty text, an empty list's message.
        for i, (value, name) in enumerate(zip(row, self._names, strict=True)):
            if (not value or i in self._lists) and not message.HasField(name):
                row[i] = None
        for i, valid in self._valid:
            if row[i] is not None and not valid.one(row[i]):
                raise ValueError("a value is none of its type")
        for i, python in self._readers.items():
            if row[i] is not None:
                row[i] = python(row[i])
        return row

    def _decode_each(self, messages: Sequence[bytes], keys: Sequence[bytes]) -> Columns:
        """Slowly, and so that the first message that cannot be read is named."""
        rows: list[list[Any]] = []
        for message, key in zip(messages, keys, strict=True):
            try:
                event_time, features = self._one_by_one.decode(message)
            except StoreError as error:
                raise StoreError(f"{error.message}, at {key.decode(errors='replace')}", error.hint) from error
            rows.append([microseconds(event_time), *(features[name] for name in self._names[1:])])
        return _columns(rows, self._names)


#: Below so many messages, parsing them together costs more than it saves.
_FEW = 5

#: The mark behind each message of a batch: `true` in the last field that protobuf can number.
_END_NAME, _END_NUMBER, _END = "_end", (1 << 29) - 1, bytes.fromhex("f8ffffff0f01")


def _columns(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> Columns:
    """(event time, features) of N messages, as columns."""
    if len(rows) == 1:
        event_times, *columns = [[value] for value in rows[0]]
    else:
        event_times, *columns = map(list, zip(*rows, strict=True)) if rows else [[] for _ in names]
    return Columns(event_times, columns)


def _rows_class(message: type[Message]) -> Any:
    """The class of a message whose fields are all repeated, with the mark."""
    file = FileDescriptorProto()
    message.DESCRIPTOR.file.CopyToProto(file)
    (rows,) = (each for each in file.message_type if each.name == message.DESCRIPTOR.name)
    for field in rows.field:
        field.label = FieldDescriptorProto.LABEL_REPEATED
        field.ClearField("proto3_optional")
        field.ClearField("oneof_index")
    rows.ClearField("oneof_decl")
    rows.field.add(
        name=_END_NAME, number=_END_NUMBER, type=_PROTO_NUMBERS["bool"], label=FieldDescriptorProto.LABEL_REPEATED
    )
    return _class_in(file, rows.name)


def message_class(view: FeatureView) -> type[Message]:
    """A protobuf message class for one view version, in a descriptor pool of its own. Raises DefinitionError."""
    return _class_in(file_descriptor([view]), message_name(view))


def _class_in(file: FileDescriptorProto, name: str) -> type[Message]:
    pool: Any = DescriptorPool()  # its type stubs leave these methods out
    try:
        pool.AddSerializedFile(file.SerializeToString())
        return GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
    except (TypeError, ValueError, KeyError) as error:  # which of them differs between protobuf's implementations
        raise DefinitionError(f"protobuf takes no message {name}: {error}") from error


def message_name(view: FeatureView) -> str:
    """'CarrierDelaysV2' for version 2 of carrier_delays."""
    return "".join(part.capitalize() for part in view.name.split("_")) + f"V{view.version}"


def file_descriptor(views: Iterable[FeatureView]) -> FileDescriptorProto:
    """The schema of ``views``, by name and version: their messages, then the list messages that they use.

    Raises DefinitionError for a field number below 2 or used twice, or a feature named as field 1; UnsupportedTypeError
    for a type that cannot be served.
    """
    file = FileDescriptorProto(name="features.proto", package=PACKAGE, syntax="proto3")
    lists: set[Proto] = set()
    for view in sorted(views, key=lambda view: (view.name, view.version)):
        message = file.message_type.add(name=message_name(view))
        _add_optional(message, EVENT_TIME, 1, feature_type("timestamptz"))
        used = {1}
        for feature in view.numbered:
            type_ = feature_type(feature.type)
            if feature.name == EVENT_TIME or feature.number in used:
                raise DefinitionError(
                    f"feature '{feature.name}' of {view.id} cannot have field number {feature.number}",
                    f"numbers start at 2 and are used once; field 1 is '{EVENT_TIME}', which no feature may be called",
                )
            _add_optional(message, feature.name, feature.number, type_)
            used.add(feature.number or 0)
            if type_.is_list:
                lists.add(type_.proto)
    for proto, name in LIST_MESSAGES.items():
        if proto in lists:
            file.message_type.add(name=name).field.add(
                name="values", number=1, type=_PROTO_NUMBERS[proto], label=FieldDescriptorProto.LABEL_REPEATED
            )
    return file


def proto_text(views: Iterable[FeatureView]) -> str:
    """The schema of ``views`` as a readable `features.proto`: for other languages, and for reviewers.

    Rendered from ``file_descriptor`` (same order, same errors), with the dbt types and the places in Redis as comments.
    """
    by_message = {message_name(view): view for view in views}
    file = file_descriptor(by_message.values())
    messages = [_message_text(message, by_message.get(message.name)) for message in file.message_type]
    return "\n\n".join([_HEADER, *messages]) + "\n"


_HEADER = f"""\
// What the syncer writes to Redis: one message per feature view version. Generated from the registry; do not edit.
// A field that is absent is NULL. See docs/wire-format.md.
syntax = "proto3";

package {PACKAGE};"""


def _message_text(message: DescriptorProto, view: FeatureView | None) -> str:
    if view is None:
        what = "A list of numbers; a message of its own, so that NULL and [] differ."
    else:
        keys = ", ".join(f"{key.name} {key.type}" for key in view.entity.join_keys)
        what = f"Hash field '{view.name}:{view.version}' of the entity '{view.entity.name}' ({keys})."
    lines = [f"// {what}", f"message {message.name} {{"]
    features = {feature.name: feature for feature in view.features} if view else {}
    for field in message.field:
        label = "optional" if field.proto3_optional else "repeated"
        proto = field.type_name.rpartition(".")[2] or FieldDescriptorProto.Type.Name(field.type)[5:].lower()
        line = f"  {label} {proto} {field.name} = {field.number};"
        if feature := features.get(field.name):
            line += f"  // {feature_type(feature.type).name}"
        elif view:
            line += "  // microseconds since 1970-01-01T00:00:00Z"
        lines.append(line)
    return "\n".join([*lines, "}"])


def _add_optional(message: DescriptorProto, name: str, number: int | None, type_: FeatureType) -> None:
    field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if type_.is_list:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{LIST_MESSAGES[type_.proto]}"
    else:
        field.type = _PROTO_NUMBERS[type_.proto]
    # proto3 spells `optional` as a oneof of one field, named with an underscore (descriptor.proto, proto3_optional).
    field.proto3_optional = True
    field.oneof_index = len(message.oneof_decl)
    message.oneof_decl.add(name=f"_{name}")


def _reader(type_: FeatureType) -> Callable[..., object]:
    return _list if type_.is_list else _PYTHON[type_.kind]


class _Valid(NamedTuple):
    """Whether what protobuf gave is of the type: ``one`` value, or ``all`` of some, none of them absent."""

    one: Callable[[Any], object]
    all: Callable[[Sequence[Any]], object]


def _valid(type_: FeatureType) -> _Valid | None:
    """None: protobuf gives nothing else."""
    if type_.is_list:
        element, _, size = type_.name.rstrip("]").partition("[")
        valid, length = _valid(feature_type(element)), int(size or -1)
        if valid is None and length < 0:
            return None

        def is_list(message: Any) -> object:
            return (length < 0 or len(message.values) == length) and (valid is None or valid.all(message.values))

        return _Valid(is_list, lambda messages: all(map(is_list, messages)))
    if type_.kind == "decimal":
        precision, scale = map(int, type_.name[len("decimal(") : -1].split(","))
        return _texts(f"-?[0-9]{{1,{max(1, precision - scale)}}}" + (rf"\.[0-9]{{{scale}}}" if scale else ""))
    if type_.name == "uuid":
        return _texts("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    if type_.name not in INTEGER_RANGES:
        return None
    least, most = INTEGER_RANGES[type_.name]
    if type_.kind == "integer":
        digits = _texts(r"-?[0-9]{1,39}")
        return _Valid(
            lambda text: digits.one(text) and least <= int(text) <= most,
            lambda texts: digits.all(texts) and all(least <= int(text) <= most for text in texts),
        )
    if most > _SINT32:  # those of 64 bits
        return None
    return _Valid(
        lambda number: least <= number <= most,
        lambda numbers: not numbers or (least <= min(numbers) and max(numbers) <= most),
    )


_SINT32 = (1 << 32) - 1


def _texts(pattern: str) -> _Valid:
    """Of texts that match. All are looked at at once: one by one would take four times as long."""
    one, every = re.compile(pattern), re.compile(f"(?:{pattern})(?:\n(?:{pattern}))*")

    def match(texts: Sequence[str]) -> object:
        joined = "\n".join(texts)
        return not texts or (every.fullmatch(joined) and joined.count("\n") == len(texts) - 1)

    return _Valid(one.fullmatch, match)
