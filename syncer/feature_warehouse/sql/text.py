"""SQL text to a tree that keeps each word of it; the words of SQL that is not understood; one name of each type.

sqlglot is written for many dialects and forgives
much; here a feature's meaning hangs on each word. So

- functions keep the names they were written with (sqlglot merges names that DuckDB tells apart: arbitrary, any_value);
- every word of the text must be found again in the tree, and ``queries`` must understand every part of the tree;
- operators that sqlglot binds otherwise than DuckDB does must stand in parentheses.

What does not pass is ``Unclear``: the whole node is then compared as text.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar

from sqlglot import Dialect, exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType


class Warehouse(DuckDB):
    """DuckDB, with functions and positions left as they are written."""

    INDEX_OFFSET = 0  # list[1] stays list[1]

    class Parser(DuckDBParser):
        FUNCTIONS: ClassVar = {}
        FUNCTION_PARSERS: ClassVar = {
            name: DuckDBParser.FUNCTION_PARSERS[name] for name in ("CAST", "TRY_CAST", "EXTRACT")
        }
        TYPE_CONVERTERS: ClassVar = {
            kind: make for kind, make in DuckDBParser.TYPE_CONVERTERS.items() if kind != exp.DType.TEXT
        }

    class Generator(DuckDBGenerator):
        def ignorenulls_sql(self, expression: exp.IgnoreNulls) -> str:
            return self._within(expression, "IGNORE NULLS")

        def respectnulls_sql(self, expression: exp.RespectNulls) -> str:
            return self._within(expression, "RESPECT NULLS")

        def _within(self, expression: exp.Expr, words: str) -> str:
            # sqlglot drops the words for functions that it does not know
            inner = self.sql(expression, "this")
            return f"{inner[:-1]} {words})" if inner.endswith(")") else f"{inner} {words}"


def written(node: exp.Expr, *, pretty: bool = False) -> str:
    """A tree as SQL, without comments."""
    return node.sql(
        Warehouse,
        comments=False,
        pretty=pretty,
        normalize_functions="lower",
        unsupported_level=ErrorLevel.IGNORE,
    )


class Unclear(Exception):
    """SQL whose meaning is not certain here; the message says what of it."""


# -- text ----------------------------------------------------------------------

#: Keywords that the translation below accounts for. Any other makes a text unclear.
_KEYWORDS = frozenset(
    """
    all and anti any array as asc asof at between by case cast cross cube current current_date current_time
    current_timestamp date day days desc distinct else end escape except exclude exists extract false filter first
    following from full group grouping groups having hour hours ignore ilike in inner intersect interval is isnull
    join lambda last lateral left like limit localtime localtimestamp map materialized microsecond microseconds
    millisecond milliseconds minute minutes month months name not notnull null nulls offset on or order others outer
    over partition preceding qualify quarter quarters range recursive rename replace respect right rollup row rows
    second seconds select semi sets struct then ties time timestamp timestamptz to true try_cast unbounded union
    unnest using values week weeks when where window with within without year years zone
    """.split()
)

#: Tokens of which the text has no more than the tree has nodes of these kinds.
_COUNTED: dict[str, tuple[type[exp.Expr], ...]] = {
    "distinct": (exp.Distinct, exp.NullSafeEQ, exp.NullSafeNEQ),
    "over": (exp.Window,),
    "filter": (exp.Filter,),
    "where": (exp.Where,),
    "having": (exp.Having,),
    "qualify": (exp.Qualify,),
    "join": (exp.Join,),
    "limit": (exp.Limit,),
    "offset": (exp.Offset,),
    "ignore": (exp.IgnoreNulls,),
    "case": (exp.Case,),
    "select": (exp.Select,),
    "between": (exp.Between, exp.WindowSpec),
    "exists": (exp.Exists,),
    "escape": (exp.Escape,),
    "like": (exp.Like,),
    "ilike": (exp.ILike,),
    "or": (exp.Or,),
    "lambda": (exp.Lambda,),
}

_WORD = re.compile(r"[a-z_][a-z0-9_$]*")


_QUOTED = (TokenType.STRING, TokenType.IDENTIFIER)


#: What sqlglot calls the SQL of a dbt adapter, where the two names differ.
_DIALECTS = {"glue": "spark", "sqlserver": "tsql", "synapse": "tsql", "fabric": "fabric"}


def tokens_of(text: str, dialect: str = "") -> list[Token]:
    """The words of a text, without comments. ``dialect``: the dbt adapter whose SQL it is; "" for DuckDB's."""
    try:
        if not dialect:
            return Warehouse().tokenize(text)
        return Dialect.get_or_raise(_DIALECTS.get(dialect, dialect)).tokenize(text)
    except (SqlglotError, ValueError) as exc:  # ValueError: nobody knows that dialect
        raise Unclear(f"the text cannot be split into words: {_first_line(exc)}") from exc


def words_of(text: str, dialect: str = "") -> str:
    """The text without comments, line breaks and letter case outside of quotes: what is compared of SQL that is not
    understood. Names of fields keep their letters. Where it cannot even be split into words, the text as it is.

    Of another ``dialect`` than DuckDB's nothing but comments and line breaks is left out: where letter case counts is
    not known.
    """
    try:
        tokens = tokens_of(text, dialect)
    except Unclear:
        return text
    if dialect:
        return " ".join(text[token.start : token.end + 1] for token in tokens)
    found = []
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        word = text[token.start : token.end + 1]
        field = (before and before.token_type == TokenType.DOT) or (after and after.token_type in _NAMING)
        found.append(word if field or token.token_type in (*_QUOTED, *_ODD_STRINGS) else lower(word))
    return " ".join(found)


#: After the name of a field: {a: 1}, struct_pack(a := 1).
_NAMING = (TokenType.COLON, TokenType.COLON_EQ)

_ODD_STRINGS = (
    TokenType.HEREDOC_STRING, TokenType.BYTE_STRING, TokenType.HEX_STRING, TokenType.NATIONAL_STRING,
    TokenType.RAW_STRING, TokenType.UNICODE_STRING, TokenType.BIT_STRING,
)  # fmt: skip


_LOWER = {ord(letter): letter.lower() for letter in string.ascii_uppercase}


def lower(name: str) -> str:
    """An identifier as DuckDB compares it: quoted or not, A to Z in either case; other letters as they are."""
    return name.lower() if name.isascii() else name.translate(_LOWER)


def _first_line(exc: Exception) -> str:
    return str(exc).splitlines()[0]


_FIRST = (TokenType.SELECT, TokenType.WITH, TokenType.FROM, TokenType.VALUES, TokenType.L_PAREN)


def parse(text: str) -> exp.Query:
    """The tree of one query that keeps every word of the text, or Unclear."""
    found = _parsed(text)
    if isinstance(found, Unclear):
        raise Unclear(str(found))  # a new one: what is raised holds on to those who were called
    return found


@lru_cache(maxsize=4096)
def _parsed(text: str) -> exp.Query | Unclear:
    try:
        return _tree(text)
    except Unclear as exc:
        return Unclear(str(exc))


def _tree(text: str) -> exp.Query:
    tokens = tokens_of(text)
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        tokens.pop()
    if not tokens or tokens[0].token_type not in _FIRST:
        raise Unclear("it is not one query")
    try:
        trees = Warehouse().parser().parse(tokens, text)
    except SqlglotError as exc:
        raise Unclear(f"it cannot be parsed: {_first_line(exc)}") from exc
    except RecursionError as exc:
        raise Unclear("it is nested too deeply") from exc
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise Unclear("it is not one query")
    check_words(tokens, trees[0])
    return trees[0]


def relations_of(tree: exp.Expr) -> list[str]:
    """The names of the relations that a query reads, CTEs among them."""
    return [".".join(lower(part.name) for part in table.parts) for table in tree.find_all(exp.Table)]


def check_words(tokens: Sequence[Token], tree: exp.Expr) -> None:
    """Raises Unclear where a word of the text is not in the tree, or is none that is accounted for."""
    strings, words, nodes = _kept(tree)
    for token in tokens:
        if token.token_type in (*_ODD_STRINGS, TokenType.PARAMETER, TokenType.PLACEHOLDER):
            raise Unclear(f"{token.text!r} is not understood")
        if token.token_type == TokenType.STRING and not strings[token.text] and nodes[exp.Struct]:
            if not words[lower(token.text)]:  # the name of a field
                raise Unclear(f"the parser lost {token.text!r}")
            words[lower(token.text)] -= 1
        elif token.token_type == TokenType.STRING:
            # interval '7 days' is parsed into '7' and days
            first, *rest = [token.text] if strings[token.text] else token.text.split() or [token.text]
            if not strings[first] or not all(words[lower(word)] for word in rest):
                raise Unclear(f"the parser lost {token.text!r}")
            strings[first] -= 1
            words.subtract(map(lower, rest))
    # names in quotes before others: select may be one of them
    for token in sorted(tokens, key=lambda token: token.token_type != TokenType.IDENTIFIER):
        word, kind = lower(token.text), token.token_type
        name = kind in (TokenType.NUMBER, TokenType.IDENTIFIER) or (kind == TokenType.VAR and word not in _KEYWORDS)
        if kind == TokenType.STRING or not (name or _WORD.fullmatch(word)):
            continue
        if words[word] > 0:
            words[word] -= 1
        elif name and not (kind == TokenType.VAR and word in _TYPE_WORDS):
            raise Unclear(f"the parser lost {token.text}")
        elif word not in _KEYWORDS and word not in _TYPE_WORDS:
            raise Unclear(f"{token.text} is not understood")
    written = Counter(lower(token.text) for token in tokens if token.token_type not in _QUOTED)
    for word, kinds in _COUNTED.items():
        if written[word] > sum(nodes[node] for node in kinds):
            raise Unclear(f"the parser lost {word}")


def _kept(tree: exp.Expr) -> tuple[Counter[str], Counter[str], Counter[type[exp.Expr]]]:
    """The strings, the words and the kinds of nodes that a tree holds."""
    strings: Counter[str] = Counter()
    words: Counter[str] = Counter()
    nodes: Counter[type[exp.Expr]] = Counter()
    for node in tree.walk():
        nodes[type(node)] += 1
        if isinstance(node, exp.Literal) and node.is_string:
            strings[str(node.this)] += 1
        elif isinstance(node, (exp.Literal, exp.Identifier, exp.Var)):
            words[lower(str(node.this))] += 1
        elif isinstance(node, exp.Anonymous):
            words[lower(node.name)] += 1
        elif isinstance(node, exp.DataType):
            words.update(_WORD.findall(lower(node.sql(Warehouse))))
        elif isinstance(node, exp.If) and node.arg_key != "ifs":
            words["if"] += 1
        elif isinstance(node, exp.Interval) and isinstance(node.this, exp.Literal):
            words[node.this.name] += 1  # interval 7 days is parsed into a string too
        elif isinstance(node, exp.WindowSpec):
            sides = ("start", "end", "start_side", "end_side", "kind")
            words.update(str(node.args.get(side)).lower() for side in sides)
            excluded = node.args.get("exclude")
            words.update(lower(excluded.name if isinstance(excluded, exp.Expr) else str(excluded or "")).split())
    return strings, words, nodes


_TYPE_WORDS = frozenset(
    """
    bigint bool boolean bytea blob char character bpchar date datetime dec decimal double precision float float4 float8
    hugeint int int1 int2 int4 int8 integer interval json long numeric real short signed smallint string text time
    timestamp timestamptz timestamp_s timestamp_ms timestamp_ns timestamp_us timetz tinyint ubigint uhugeint uint
    uinteger usmallint utinyint uuid varchar varbinary varying with zone bit bitstring logical oid
    """.split()
)


# -- types ---------------------------------------------------------------------


@lru_cache(maxsize=1024)
def canonical_type(text: str) -> str:
    """One name of a type: 'int8' and 'BIGINT' are 'bigint'; '' stays ''."""
    if not text:
        return ""
    try:
        return type_name(exp.DataType.build(text, dialect=Warehouse, udt=True))
    except (SqlglotError, ValueError):
        return lower(" ".join(text.split()))


_TYPE_NAMES = {
    "int": "integer", "text": "varchar", "real": "float", "int128": "hugeint", "uint128": "uhugeint",
    "timestampntz": "timestamp", "varbinary": "blob",
}  # fmt: skip


def type_name(kind: exp.DataType) -> str:
    name = lower(kind.sql(Warehouse))
    if kind.this == exp.DType.TEXT or re.fullmatch(r"(varchar|char|text|nchar|nvarchar)\(\d+\)", name):
        return "varchar"  # DuckDB does not look at the length
    if kind.this == exp.DType.DECIMAL and not kind.expressions:
        return "decimal(18, 3)"
    return _TYPE_NAMES.get(name, name)


# -- relations -----------------------------------------------------------------


def relation_parts(relations: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """Relations by their parts, for ``with_node_names``: {'"warehouse"."main"."flights"': 'flights'}."""
    return {tuple(_parts_of_name(relation)): node for relation, node in relations.items()}


def with_node_names(text: str, relations: Mapping[tuple[str, ...], str], dialect: str = "") -> str:
    """The text with node names in place of relations ('"warehouse"."main"."flights"' -> flights), all else as it was.

    Only where a relation stands among the words, never within a string, a comment or another name.
    """
    tokens = tokens_of(text, dialect)
    pieces, done, at = [], 0, 0
    while at < len(tokens):
        parts, end = [_name(tokens[at])], at
        while end + 2 < len(tokens) and tokens[end + 1].token_type == TokenType.DOT:
            end += 2
            parts.append(_name(tokens[end]))
        for length in range(len(parts), 0, -1):  # a column may follow: "main"."flights".delay
            node = relations.get(tuple(parts[:length]))
            if node is not None and length > 1:
                last = tokens[at + 2 * (length - 1)]
                pieces += [text[done : tokens[at].start], node]
                done = last.end + 1
                break
        at = end + 1
    return "".join(pieces) + text[done:]


def plain_name(name: str) -> str:
    """A name as it is written in SQL: in quotes where it must be."""
    plain = _PLAIN_NAME.fullmatch(name) and tokens_of(name)[0].token_type == TokenType.VAR
    return name if plain else '"' + name.replace('"', '""') + '"'


def reference(name: str) -> str:
    """A node's name as it stands in SQL: a relation of the catalog ``ref`` or ``source``."""
    first, second, *others = (name if name.startswith("source.") else f"ref.{name}").split(".")
    return ".".join([first, plain_name(second), *([plain_name(".".join(others))] if others else [])])


def name_of(written: str) -> str:
    """A name without the quotes that ``plain_name`` has put around it."""
    return written[1:-1].replace('""', '"') if written.startswith('"') else written


_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _parts_of_name(relation: str) -> list[str]:
    return [_name(token) for token in tokens_of(relation) if token.token_type != TokenType.DOT]


def _name(token: Token) -> str:
    return lower(token.text) if token.token_type != TokenType.STRING else f"'{token.text}'"
