"""Views that the macro ``rolling_features`` made: what their SQL declares, and whether it is that macro's at all.

At the head of its SQL the macro writes what it was called with, as JSON in a comment. A comment proves nothing: it is
believed where the macro, called like that once more, gives the same words, in which `filled` finds the events again.
Such a view is judged as what it is: rows of events, read as SQL like any other, and an aggregate over them for each
feature.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

from sqlglot.tokenizer_core import Token, TokenType

from feature_warehouse.sql.queries import is_bare
from feature_warehouse.sql.text import Unclear, canonical_type, lower, parse, plain_name, tokens_of, words_of
from feature_warehouse.sql.wording import formatted, unified

#: What a call of the macro is given in place of the events, and of `changed_since`: both name relations, which are
#: called otherwise in every target, so they stand in the SQL alone.
EVENTS, SINCE = "__events", "__since_instant"

#: What the macro adds in an incremental model, of which a call by itself knows nothing: the order of its rows.
IN_TIME_ORDER = "\norder by event_at"


@dataclass(frozen=True, slots=True)
class Rolled:
    """A feature that is an aggregate of its view's rows, which are events; its column is what is aggregated.

    words: what decides about the aggregate beside these, by name: 'window' -> '7 days'. span: the window.
    """

    words: Mapping[str, str]
    span: timedelta

    def __str__(self) -> str:
        return ", ".join(f"{name} {word}" for name, word in self.words.items() if word)


@dataclass(frozen=True, slots=True)
class Feature:
    """As the macro was called. column: what is aggregated, '' for rows; condition: of a rate."""

    name: str
    aggregate: str
    window: str
    column: str = ""
    condition: str = ""
    n: int | None = None
    data_type: str = ""

    @property
    def span(self) -> timedelta:
        number, unit = self.window.split()
        return timedelta(**{f"{lower(unit).removesuffix('s')}s": int(number)})

    @property
    def value(self) -> str:
        """The SQL of what is aggregated, as the macro writes it."""
        if self.condition:
            return f"case when {_named(self.condition)} then 1 else 0 end"
        return _named(self.column) if self.column else "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What the macro was called with, but for its events."""

    join_keys: tuple[str, ...]
    event_timestamp: str
    available_at: str | None
    features: tuple[Feature, ...] = field(default=())

    def call(self, *, later: bool = False) -> dict[str, Any]:
        """The macro's arguments; with ``later``, as a later run of an incremental model calls it."""
        features = [
            {name: value for name in _SETTINGS if (value := getattr(feature, name)) not in ("", None)}
            for feature in self.features
        ]
        return {
            "events": EVENTS,
            "join_keys": list(self.join_keys),
            "event_timestamp": self.event_timestamp,
            "available_at": self.available_at,
            "features": features,
            **({"changed_since": SINCE} if later else {}),
        }


# --- from the text ----------------------------------------------------------------------------------------------------

_SETTINGS = ("name", "aggregate", "window", "column", "condition", "n", "data_type")

#: Remarks of the model's own may stand before what the macro says.
_REMARKS = r"(?:\s|--[^\n]*\n)*"

_HEAD = re.compile(_REMARKS + r"/\* rolling_features 1\n(\{.*?\}) \*/", re.DOTALL)

_WINDOW = re.compile(r"\s*[0-9]+\s+(second|minute|hour|day|week)s?\s*", re.IGNORECASE)


def declaration(sql: str) -> Declaration | None:
    """What SQL says at its head that it is; None where it says nothing, or what cannot be read here."""
    found = _HEAD.match(sql)
    try:
        return _declaration(json.loads(found[1])) if found else None
    except (LookupError, TypeError, ValueError):
        return None


def _declaration(said: Any) -> Declaration:
    features = tuple(Feature(**{**one, "window": _window(one["window"])}) for one in said["features"])
    made = Declaration(
        join_keys=tuple(said["join_keys"]),
        event_timestamp=said["event_timestamp"],
        available_at=said["available_at"],
        features=features,
    )
    texts = [*made.join_keys, made.event_timestamp, *([] if made.available_at is None else [made.available_at])]
    texts += [getattr(one, name) for one in features for name in _SETTINGS if name != "n"]
    if said.keys() - {"join_keys", "event_timestamp", "available_at", "features"}:
        raise ValueError("there is more in it than this release knows")
    if not features or not all(isinstance(text, str) for text in texts):
        raise TypeError("it is of another shape")
    return made


def _window(text: str) -> str:
    if not _WINDOW.fullmatch(text):
        raise ValueError(text)
    return text


#: What the macro said of itself before it wrote its arguments.
_SPANS = re.compile(_REMARKS + r"/\* look-back: (\w+ \d+s(?:, \w+ \d+s)*) \*/")


def remembered(sql: str, now: Declaration) -> Declaration | None:
    """What SQL from before there were arguments in it may declare: what is called the same ``now``, with its own
    windows. To be believed as little as any other; None where nothing of the kind is said."""
    found = _SPANS.match(sql)
    spans = [one.rsplit(" ", 1) for one in found[1].split(", ")] if found else []
    known = {feature.name: feature for feature in now.features}
    if not spans or any(name not in known for name, _ in spans):
        return None
    features = []
    for name, span in spans:
        feature = known[name]
        same = feature.span == timedelta(seconds=int(span[:-1]))
        window = feature.window if same else _in_words(timedelta(seconds=int(span[:-1])))
        settings = {setting: getattr(feature, setting) for setting in _SETTINGS}
        features.append(Feature(**{**settings, "window": window}))
    return Declaration(
        join_keys=now.join_keys,
        event_timestamp=now.event_timestamp,
        available_at=now.available_at,
        features=tuple(features),
    )


def _in_words(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'s' if seconds != size else ''}"
    raise AssertionError


def _named(expression: str) -> str:
    """A word alone is the name of a column, but for those that SQL itself gives a value; as the macro has it."""
    if re.fullmatch(r"[A-Za-z_]\w*", expression) and lower(expression) not in _VALUES:
        return _column(expression)
    return expression


def _column(name: str) -> str:
    """A column's name, in quotes where it must be: some words are keywords where an expression may stand alone."""
    try:
        parse(f"select {plain_name(name)} as {plain_name(name)}")
    except Unclear:
        return '"' + name.replace('"', '""') + '"'
    return plain_name(name)


_VALUES = {"true", "false", "null", "current_date", "current_timestamp"}


# --- the same words ---------------------------------------------------------------------------------------------------


def filled(rendered: str, sql: str) -> dict[str, str] | None:
    """What stands in ``sql`` where ``rendered`` has EVENTS and SINCE; None where any other word is another one."""
    try:
        pattern, words = tokens_of(rendered), tokens_of(sql)
    except Unclear:
        return None
    names = [_word(token) for token in pattern]
    counts = {blank: names.count(blank) for blank in (EVENTS, SINCE)}
    room = len(words) - (len(names) - sum(counts.values()))
    if not counts[EVENTS]:
        return None
    for since in range(1, room + 1) if counts[SINCE] else (0,):
        events, rest = divmod(room - since * counts[SINCE], counts[EVENTS])
        if rest or events < 1:
            continue
        found = _filled(names, words, {EVENTS: events, SINCE: since})
        if found is not None:
            return {blank: sql[one[0].start : one[-1].end + 1] for blank, one in found.items()}
    return None


def _filled(names: list[str], words: list[Token], lengths: Mapping[str, int]) -> dict[str, list[Token]] | None:
    found: dict[str, list[Token]] = {}
    at = 0
    for name in names:
        if name not in lengths:
            if at >= len(words) or _word(words[at]) != name:
                return None
            at += 1
            continue
        here = words[at : at + lengths[name]]
        if list(map(_word, found.setdefault(name, here))) != list(map(_word, here)):
            return None
        at += lengths[name]
    return found if at == len(words) else None


def _word(token: Token) -> str:
    """A word as it is compared. A name that needs no quotes is the same in them; a text is none."""
    if token.token_type == TokenType.IDENTIFIER:
        return _plain(token.text)
    return token.text if token.token_type == TokenType.VAR else f"{token.token_type.name} {token.text}"


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    return f'"{name}"' if lower(name) in _SPECIAL else plain_name(name)


#: Words that may mean something else without quotes than in them, though they are no keywords.
_SPECIAL = {"user", "current_user", "session_user", "current_role", "current_catalog", "current_schema", "rowid"}


def is_relation(text: str) -> bool:
    """Whether a text is what may stand after FROM by itself: a name, or a query in brackets."""
    tokens = tokens_of(text)
    if tokens[0].token_type != TokenType.L_PAREN:
        names, dots = tokens[::2], tokens[1::2]
        return (
            all(one.token_type == TokenType.IDENTIFIER or re.fullmatch(r"[A-Za-z_]\w*", one.text) for one in names)
            and all(one.token_type == TokenType.DOT for one in dots)
            and len(names) == len(dots) + 1
        )
    depth = 0
    for place, token in enumerate(tokens):
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if depth == 0:
            return place == len(tokens) - 1
    return False


def is_instant(text: str) -> bool:
    """Whether an instant comes from rows alone, by functions that neither read a clock nor draw lots."""
    tokens = tokens_of(text)
    called = [one for one, after in pairwise(tokens) if after.token_type == TokenType.L_PAREN]
    names = {lower(token.text) for token in called if token.token_type in (TokenType.VAR, TokenType.IDENTIFIER)}
    return names <= {"max", "min", "coalesce", "greatest", "least"} and not any(
        lower(token.text).startswith(("current_", "local", "now", "today")) for token in tokens
    )


# --- what it means ----------------------------------------------------------------------------------------------------


def events(declared: Declaration, source: str) -> str:
    """The SQL of the events that count, one row each: keys, both times, and for each feature what is aggregated.

    Raises Unclear where an expression is not one.
    """
    for feature in declared.features:
        query = parse(f"select {feature.value}")
        if len(query.expressions) != 1 or not is_bare(query):
            raise Unclear(f"{feature.value} is not one expression")
    keys = list(map(_column, declared.join_keys))
    event = _column(declared.event_timestamp)
    known = _column(declared.available_at or declared.event_timestamp)
    columns = [*keys, f"{event} as event_at", f"{known} as known_at"]
    columns += [f"{feature.value} as {_column(feature.name)}" for feature in declared.features]
    counted = " and ".join(f"{name} is not null" for name in dict.fromkeys((*keys, event, known)))
    return "select\n    " + ",\n    ".join(columns) + f"\nfrom {source}\nwhere {counted}"


def rolled(declared: Declaration, *, ttl: timedelta | None, later: str) -> dict[str, Rolled]:
    """By feature. later: what decides about the later runs of an incremental model, '' for others.

    A view has a row at each end of a window. These decide nothing where a value holds until the next row; with a ttl
    they decide for how long.
    """
    ends = ", ".join(_in_words(span) for span in sorted({feature.span for feature in declared.features}))
    found = {}
    for feature in declared.features:
        counts = feature.aggregate in ("count", "count_distinct")
        words = {
            "aggregate": feature.aggregate,
            "window": _in_words(feature.span),
            "n": "" if feature.n is None else str(feature.n),
            "data_type": canonical_type(feature.data_type or ("bigint" if counts else "")),
            "rows at the ends of windows, from which its ttl counts:": ends if ttl else "",
            "later runs": later,
        }
        found[feature.name] = Rolled(words, feature.span)
    return found


def told_apart(was: Rolled, now: Rolled, node: str) -> Iterator[str]:
    """'window 7 days -> 14 days in `orders_v1`', one for each word that is another one."""
    for name in was.words:
        before, after = was.words[name], now.words[name]
        if before != after:
            yield f"{name} {before or 'none'} -> {after or 'none'} in `{node.removeprefix(OF)}`"


def later_runs(strategy: str, unique_key: Iterable[str], since: str) -> str:
    """What decides about the later runs of an incremental model, in one text."""
    return f"{strategy or 'none'} by {', '.join(unique_key) or 'none'} since {words_of(since) if since else 'ever'}"


def windows(sql: str) -> dict[str, timedelta]:
    """By column, the windows that SQL says at its head that it has."""
    declared = declaration(sql)
    return {lower(feature.name): feature.span for feature in declared.features} if declared else {}


def diff(node: str, old: tuple[str, Mapping[str, Rolled]], new: tuple[str, Mapping[str, Rolled]]) -> str:
    """A unified diff of the events, as SQL, and of the aggregates over them, a line for each feature."""
    was, now = (
        [*formatted(sql).splitlines(), *(f"{name}: {one}" for name, one in over.items())] for sql, over in (old, new)
    )
    return unified(node.removeprefix(OF), was, now)


#: What a view's events are called, beside the view's own node.
OF = "events of "
