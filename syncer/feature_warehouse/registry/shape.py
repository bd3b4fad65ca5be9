"""JSON that somebody else wrote: each member is asked for by type and range, and what is wrong is named by its place.

What lies in Redis is whatever the last one who reached it left there. A ``Part`` is a value of such a text with its
place in it; it gives what was asked for, or raises a ShapeError. Members that nobody asks for are skipped, so that
later versions can add some.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any


class ShapeError(ValueError):
    """A JSON text is none, or a member of it is missing, of another type or out of its range."""


def parse(text: bytes | str) -> Part:
    """The whole of a JSON text. Raises ShapeError."""
    try:
        return Part(json.loads(text, parse_constant=_refused_constant), "")
    except RecursionError:
        raise ShapeError("it is nested too deep") from None
    except ValueError as error:
        raise ShapeError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Part:
    """One value, and its place in the text: 'views.orders.v1.features[0].number', '' for all of it."""

    value: Any
    place: str

    def __getitem__(self, name: str) -> Part:
        """A member that has to be there."""
        found = self.get(name)
        if found is None:
            raise self._wrong(f"has no '{name}'")
        return found

    def get(self, name: str) -> Part | None:
        """A member; None where there is none."""
        value = self._of_type(dict, "an object")
        return self._within(name) if name in value else None

    def members(self, names: re.Pattern[str] | None = None) -> Iterator[tuple[str, Part]]:
        """Each member of an object with its name, which matches ``names``."""
        for name in self._of_type(dict, "an object"):
            if not _is_text(name) or not (names is None or names.fullmatch(name)):
                raise self._wrong(f"has a member {name!a:.60}, which is no name for one")
            yield name, self._within(name)

    def items(self) -> Iterator[Part]:
        """Each item of a list."""
        for number, value in enumerate(self._of_type(list, "a list")):
            yield Part(value, f"{self.place}[{number}]")

    def text(self, pattern: re.Pattern[str] | None = None) -> str:
        value: str = self._of_type(str, "a text")
        if not _is_text(value):
            raise self._is("which is no text in UTF-8")
        if pattern is not None and not pattern.fullmatch(value):
            raise self._is(f"which does not match {pattern.pattern}")
        return value

    def one_of(self, *words: str) -> str:
        value = self.text()
        if value not in words:
            raise self._is(f"which is none of {', '.join(words)}")
        return value

    def integer(self, least: int, most: int) -> int:
        value: int = self._of_type(int, "an integer")
        if isinstance(value, bool) or not least <= value <= most:
            raise self._is(f"not an integer from {least} to {most}")
        return value

    def boolean(self) -> bool:
        value: bool = self._of_type(bool, "true or false")
        return value

    def instant(self) -> datetime:
        """ISO 8601 with an offset; comes in UTC."""
        found: datetime = self._parsed(_instant, "an instant: 2013-01-31T12:00:00+00:00")
        if found.tzinfo is None:
            raise self._is("which has no time zone")
        try:
            return found.astimezone(timezone.utc)
        except OverflowError:
            raise self._is("which is beyond the years 1 to 9999") from None

    def date(self) -> date:
        found: date = self._parsed(date.fromisoformat, "a date: 2013-01-31")
        return found

    @property
    def is_null(self) -> bool:
        return self.value is None

    def _parsed(self, parse: Any, what: str) -> Any:
        try:
            return parse(self.text())
        except ShapeError:
            raise
        except ValueError:
            raise self._is(f"not {what}") from None

    def _within(self, name: str) -> Part:
        return Part(self.value[name], f"{self.place}.{name}" if self.place else name)

    def _of_type(self, type_: type, what: str) -> Any:
        if not isinstance(self.value, type_):
            raise self._is(f"not {what}")
        return self.value

    def _is(self, what: str) -> ShapeError:
        return self._wrong(f"is {_SHORT.repr(self.value)}, {what}")

    def _wrong(self, what: str) -> ShapeError:
        return ShapeError(f"{self.place.encode(errors='replace').decode() or 'it'} {what}")


def _instant(text: str) -> datetime:
    """Python's own parser takes no 'Z' before 3.11."""
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 2


def _is_text(value: str) -> bool:
    """JSON can spell half of a character (a lone surrogate), which no text in UTF-8 has."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
