"""What a reader wants of Redis, and what it is given: values of keys, and fields of hashes. No I/O, and no library."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

_T = TypeVar("_T")


#: Keys in one part of a request: the next part is asked for while the last one is answered.
PART_KEYS = 512


@dataclass(frozen=True, slots=True)
class Fetch:
    """HMGET of the same fields of each key; without fields, GET of each key."""

    keys: Sequence[bytes]
    fields: tuple[bytes, ...] = ()


#: Values in the order of the keys, and of the fields of each key; None where there is none.
Values = list["bytes | None"]


class Computation(Protocol):
    """What goes on in a thread of its own, while whoever waits for it may do something else."""

    future: Future[Any]

    def give_up(self) -> Exception:
        """Nobody waits any longer; the error that says so."""


#: What a use of Redis looks like without the I/O: it yields what it wants to have fetched, and is sent the values; or
#: what it wants to have waited for, and is sent the result.
Steps = Generator["Sequence[Fetch] | Computation", Any, _T]
