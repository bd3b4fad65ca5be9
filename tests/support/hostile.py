"""Contents of Redis that nobody of ours would write, drawn by structure from those that we do."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

#: What is put in the place of a value: every type of JSON, ends of ranges, and texts that mean something somewhere.
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    2**31,
    2**63,
    10**400,
    1e300,
    0.5,
    "",
    "x",
    "X y",
    "*",
    "\ud800",
    "\x00",
    "a:b|c\\",
    '"',
    "9" * 5_000,
    "x" * 10_000,
    "2013-01-31",
    "2013-01-31T12:00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "infinity",
    "double",
    "int8",
    "money",
    "decimal(99,1)",
    "double[0]",
    "varchar[]",
    "timestamp",
    "solar",
    "open",
    "fixed",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"name": "x"},
    {"a b": "bigint"},
)

#: Field numbers that protobuf has, has not, and keeps for itself.
NUMBERS = (0, 1, 2, 3, 15, 16, 18_999, 19_000, 19_999, 20_000, 2**29 - 2, 2**29 - 1, 2**29, 2**31, -1, 1.0, "2", None)

#: JSON that Python can spell and its parser reads, and what is none.
TEXTS = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"{",
    b"[]",
    b"null",
    b"7",
    b"NaN",
    b"1e999",
    b"9" * 10_000,
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'"' + b"x" * 100_000,
    b"\xef\xbb\xbf{}",
)


def deep(depth: int) -> Any:
    """Lists in lists."""
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


def texts(valid: bytes, dice: random.Random) -> Iterator[bytes]:
    """Endless: JSON texts that are one or some changes away from a valid one, and some bytes."""
    content = json.loads(valid)
    while True:
        if dice.random() < 0.1:
            yield dice.choice(TEXTS)
            continue
        changed = copy.deepcopy(content)
        for _ in range(dice.choice((1, 1, 1, 2, 5))):
            changed = _changed(changed, dice)
        text = json.dumps(changed).encode()
        if dice.random() < 0.05:
            at = dice.randrange(len(text) + 1)
            text = text[:at] + dice.randbytes(dice.randrange(3)) + text[at + dice.randrange(3) :]
        yield text


def _changed(content: Any, dice: random.Random) -> Any:
    """``content`` with one of its places changed."""
    places = list(_places(content))
    if not places:
        return dice.choice(VALUES)
    holder, name = dice.choice(places)
    value, kind = holder[name], dice.random()
    if kind < 0.15:
        del holder[name]
    elif kind < 0.25 and isinstance(holder, dict):
        holder[dice.choice(("", "x", "X", "a b", "\ud800", name + "_", 'a"b', "orders.v2", "x@1"))] = holder.pop(name)
    elif kind < 0.3 and isinstance(value, str):
        at = dice.randrange(len(value) + 1)
        holder[name] = value[:at] + dice.choice(("\ud800", " ", "9", "", "-")) + value[at + 1 :]
    elif kind < 0.4 and isinstance(holder, list):
        holder.append(copy.deepcopy(dice.choice(holder)))
    elif name == "number":
        holder[name] = dice.choice(NUMBERS)
    elif kind < 0.45:
        holder[name] = deep(dice.choice((1, 50, 400)))
    elif kind < 0.5:
        other, its = dice.choice(places)
        if its in (other if isinstance(other, dict) else range(len(other))):
            holder[name] = copy.deepcopy(other[its])
    else:
        holder[name] = copy.deepcopy(dice.choice(VALUES))
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(content, dict):
        for name, value in content.items():
            yield content, name
            yield from _places(value)
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield content, number
            yield from _places(value)


def messages(valid: bytes, dice: random.Random) -> Iterator[bytes]:
    """Endless: bytes that are some changes away from a valid protobuf message."""
    while True:
        kind = dice.random()
        if kind < 0.2:
            yield dice.randbytes(dice.randrange(40))
        elif kind < 0.4:
            yield valid[: dice.randrange(len(valid))]
        elif kind < 0.6:  # fields of odd numbers, and of each wire type
            tag = dice.choice((0, 1, 2, 3, 4, 5, 15, 2**28, 2**29 - 1, 2**32)) << 3 | dice.randrange(8)
            yield valid + _varint(tag) + dice.choice((b"", b"\x00", b"\xff" * 9 + b"\x01", b"\xff" * 12, bytes(8)))
        elif kind < 0.7:
            yield valid * dice.choice((2, 3))
        elif kind < 0.75:
            yield b"\x0b" * 5_000  # groups in groups
        else:
            changed = bytearray(valid)
            for _ in range(dice.randrange(1, 4)):
                changed[dice.randrange(len(changed))] = dice.choice((0, 1, 127, 128, 255, dice.randrange(256)))
            yield bytes(changed)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def replies(valid: bytes, dice: random.Random) -> Iterator[bytes]:
    """Endless: what a server might answer in the place of ``valid``, a stream of replies."""
    starts = [b"*2147483647", b"*-2", b"*-1", b"*0", b"*1", b"$2147483647", b"$-1", b"$-2", b":1", b"+OK", b"-ERR no"]
    starts += [
        b"%1",
        b"~2",
        b">2147483647",
        b"_",
        b"#t",
        b",1e300",
        b"(9",
        b"=5",
        b"!1",
        b"HTTP/1.1 200 OK",
        b"-MOVED x",
    ]
    while True:
        at, kind = dice.randrange(len(valid)), dice.random()
        line = dice.choice(starts) + b"\r\n"
        if kind < 0.3:
            yield line * dice.choice((1, 1, 2, 9, 500))
        elif kind < 0.5:
            yield valid[:at] + line + valid[at:]
        elif kind < 0.7:
            lines = valid.split(b"\r\n")
            lines[dice.randrange(len(lines))] = dice.choice(starts)
            yield b"\r\n".join(lines)
        elif kind < 0.8:
            yield valid[:at]
        else:
            yield dice.randbytes(dice.randrange(1, 200))
