"""The audit: what was served, against what training would have known.

Drains the served log from Redis into a table of the warehouse, and compares every value in that table with the
point-in-time join: at the instant of serving, and at the instant that the view's marker said it mirrored. The first is
what a model learns from; the second tells a mirror that lags from one that is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime

import pyarrow as pa

from feature_warehouse.client.ondemand import names_read, readable
from feature_warehouse.client.served import read_row
from feature_warehouse.project.compiling import compile_sql
from feature_warehouse.project.project import ANYWHERE, Project, ProjectOptions
from feature_warehouse.project.reading import read_project
from feature_warehouse.registry.feature import STALE_FACTOR, FeatureService
from feature_warehouse.registry.shape import ShapeError
from feature_warehouse.registry.types import INTEGER_RANGES, feature_type
from feature_warehouse.store.store import Store
from feature_warehouse.training.request import Request, request_of
from feature_warehouse.training.spine import quoted
from feature_warehouse.warehouse.duckdb import DuckDB
from feature_warehouse.warehouse.opening import open_duckdb
from feature_warehouse.wire.decode import instant
from feature_warehouse.wire.keyspace import served_key

#: The log as a table, one row per row that was served; and what came of the last audit, one row per feature.
SERVED, AUDIT = "feature_warehouse_served", "feature_warehouse_audit"

_APART = "\n-- and at the instants mirrored\n"

_SERVED_COLUMNS = {
    "service": "varchar",
    "id": "varchar",
    "served_at": "timestamptz",
    "given": "varchar",
    "features": "varchar",
    "views": "varchar",
}

_LOG = pa.schema([(name, pa.string()) for name in _SERVED_COLUMNS])

_SCHEMA = pa.schema(
    [("service", pa.string()), ("feature", pa.string())]
    + [(name, pa.int64()) for name in ("rows", "match", "lag", "stale", "skew")]
    + [(name, pa.float64()) for name in ("max_difference", "mean_difference")]
    + [(name, pa.string()) for name in ("example", "served", "expected", "mirrored")]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureAudit:
    """One feature of one service: of ``rows`` values served, how many were which.

    match: as the join at the instant of serving. lag: as the join at the instant mirrored, which was within 1.5
    intervals of the view; stale: the same, but longer ago. skew: neither. The differences are of numbers, between what
    was served and the join at the instant of serving, over what is no match. The example is the first skewed row, else
    the first stale or lagging one, with its values as text.
    """

    service: str
    feature: str
    rows: int
    match: int
    lag: int
    stale: int
    skew: int
    max_difference: float | None
    mean_difference: float | None
    example: str | None  # the row's id in the table
    served: str | None
    expected: str | None  # by the join at the instant of serving
    mirrored: str | None  # by the join at the instant mirrored


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    drained: int  # rows that are new in the table
    features: tuple[FeatureAudit, ...]
    skipped: tuple[str, ...] = ()  # entries of the log that are no such rows, and why, a sentence each

    @property
    def passed(self) -> bool:
        """Nothing was skewed, and no mirror older than it may be."""
        return not any(feature.skew or feature.stale for feature in self.features)


def audit_served(
    services: Sequence[str],
    url: str,
    options: ProjectOptions = ANYWHERE,
    *,
    since: datetime | None = None,
    namespace: str | None = None,
) -> Audit:
    """Drains what was served of ``services`` and compares it; none named: of all that the project declares.

    ``since``: compares only what was served from this instant on, which has a zone; everything is drained all the same.
    Raises RequestError for a service that is not declared, ProjectError, WarehouseError and StoreError; the tables are
    then as before, or hold the drained rows already.
    """
    read = read_project(options)
    project, declarations = read.project, read.declarations
    declarations.raise_first()
    requests = [request_of(read, name) for name in services or sorted(declarations.services)]
    store = Store(url)
    try:
        drained, newest, skipped = _drain(requests, store, namespace or project.default_namespace, project)
    finally:
        store.close()
    found: list[FeatureAudit] = []
    served = {service for service, at in newest.items() if since is None or at >= since}
    compiled = {_service(request).id: _compiled(request) for request in requests if _service(request).id in served}
    with _writable(project) as warehouse:
        for request in requests:
            service = _service(request)
            if service.id in compiled:
                found += _compared(warehouse, request, since, *compiled[service.id])
        warehouse.add("audited", pa.Table.from_pylist([asdict(feature) for feature in found], _SCHEMA))
        warehouse.write(f"create or replace table {_table(project, AUDIT)} as from audited")
    return Audit(drained=drained, features=tuple(found), skipped=tuple(skipped))


def _writable(project: Project) -> AbstractContextManager[DuckDB]:
    return open_duckdb(project.output, "the audit", writable=True)


def _service(request: Request) -> FeatureService:
    assert request.service is not None  # it was named
    return request.service


def _table(project: Project, name: str) -> str:
    return f"{quoted(project.output.schema)}.{name}"


# --- drain ------------------------------------------------------------------------------------------------------------


def _drain(
    requests: Sequence[Request], store: Store, namespace: str, project: Project
) -> tuple[int, dict[str, datetime], list[str]]:
    """(rows that are new, {service: when its newest row was served}, what was skipped and why).

    A drain that dies has done nothing. What is skipped stays in the log, and is met again.
    """
    table = _table(project, SERVED)
    drained, skipped = 0, list[str]()
    with _writable(project) as warehouse:
        warehouse.create(table, _SERVED_COLUMNS, ("service", "id"))
        for request in requests:
            service = _service(request).id
            last = warehouse.query(
                f"select id from {table} where service = '{service}' order by split_part(id, '-', 1)::ubigint desc, "
                "split_part(id, '-', 2)::ubigint desc limit 1"
            ).read_all()
            after = last["id"][0].as_py() if last.num_rows else "0-0"
            for entries in store.entries(served_key(namespace, service), after):
                rows = []
                for id_, entry in entries:
                    try:
                        rows.append(_log_row(service, id_, entry))
                    except ShapeError as error:
                        skipped.append(_skipped(service, id_, str(error)))
                warehouse.add("drained", pa.Table.from_pylist(rows, _LOG))
                wrong = warehouse.query(f"select id, why from ({_untyped(request)}) where why is not null").read_all()
                skipped += [_skipped(service, each["id"], each["why"]) for each in wrong.to_pylist()]
                listed = ", ".join(f"{name}::{type_} as {name}" for name, type_ in _SERVED_COLUMNS.items())
                warehouse.append(table, f"select {listed} from ({_untyped(request)}) where why is null")
                drained += len(rows) - wrong.num_rows
        newest = warehouse.query(f"select service, epoch_us(max(served_at)) from {table} group by all").read_all()
        logged = {service: instant(at) for service, at in zip(*newest.to_pydict().values(), strict=True)}
        for request in requests:
            if _service(request).id in logged:
                warehouse.write(_typed_view(request, table))
    return drained, logged, skipped


def _log_row(service: str, id_: str, entry: bytes) -> dict[str, str]:
    row = read_row(entry)
    parts = {name: json.dumps(row[name], ensure_ascii=False) for name in ("given", "features", "views")}
    return {"service": service, "id": id_, "served_at": row["at"], **parts}


def _skipped(service: str, id_: str, why: str) -> str:
    return f"the entry {id_} in the served log of {service} cannot be read, and is skipped: {why}"


def _untyped(request: Request) -> str:
    """SQL: what was drained, with ``why`` a row has a value that its type cannot have; NULL: it has none."""
    cases = [
        f"when json_extract_string({column}, '$.{name}') is not null and try({_cast(column, name, type_)}) is null "
        f"then '{column}.{name} is no {type_}'"
        for column, types in (("given", _given(request)), ("features", _outputs(request)))
        for name, type_ in types.items()
    ]
    return f"select *, case {' '.join(cases)} end as why from drained"


def _typed_view(request: Request, table: str) -> str:
    """The rows of one service with typed columns: when, for whom, and what it was given; ready to train on."""
    service = _service(request)
    columns = ["id as served_id", "served_at"]
    columns += (_cast("given", name, type_) + f" as {quoted(name)}" for name, type_ in _given(request).items())
    columns += (_cast("features", name, type_) + f" as {quoted(name)}" for name, type_ in _outputs(request).items())
    view = _table(request.project, f"served_{service.name}_v{service.version}")
    return f"create or replace view {view} as select {', '.join(columns)} from {table} where service = '{service.id}'"


def _given(request: Request) -> dict[str, str]:
    """{name: type} of the join keys and request values of the service."""
    keys = {
        request.keys(read)[key.name]: key.type
        for read in request.reads
        for key in request.views[read.view].entity.join_keys
    }
    return keys | _service(request).request


def _outputs(request: Request) -> dict[str, str]:
    """{name: type} of all that the service gives."""
    service = _service(request)
    stored = {name: type_ for name, type_ in readable(service, request.views).items() if name not in service.request}
    return stored | {feature.name: feature.type for feature in service.on_demand}


def _cast(column: str, name: str, type_: str) -> str:
    value = f"json_extract_string({column}, '$.{name}')"
    return f"unhex({value})" if type_ == "blob" else f"cast({value} as {type_})"


# --- compare ----------------------------------------------------------------------------------------------------------


def _compiled(request: Request) -> tuple[str, str]:
    """SQL of the join at the instants of serving, and at those that were mirrored."""
    as_of = {f"__as_of_{i}": "timestamptz" for i in range(len(request.reads))}
    columns = {"served_id": "varchar", "served_at": "timestamptz"} | _given(request) | as_of
    spine = ["spine='served_spine'", f"spine_columns={columns!r}"]
    expected = request.call("point_in_time_join", [*spine, "spine_timestamp='served_at'"])
    mirrored = request.call("_mirrored_values", spine)
    both = compile_sql(request.project, f"{{{{ {expected} }}}}{_APART}{{{{ {mirrored} }}}}")
    of_serving, _, of_mirrors = both.partition(_APART)
    return of_serving, of_mirrors


def _compared(
    warehouse: DuckDB, request: Request, since: datetime | None, expected: str, mirrored: str
) -> Iterator[FeatureAudit]:
    service, table = _service(request), _table(request.project, SERVED)
    given = [_cast("given", name, type_) + f" as {quoted(name)}" for name, type_ in _given(request).items()]
    as_of = [_cast_view(i, "as_of", "timestamptz") + f" as __as_of_{i}" for i in range(len(request.reads))]
    of_service = f"from {table} where service = '{service.id}'"
    if since is not None:
        of_service += f" and served_at >= timestamptz '{since.isoformat()}'"
    _temporary(warehouse, "served_spine", f"select id as served_id, served_at, {', '.join(given + as_of)} {of_service}")
    _temporary(warehouse, "served_expected", expected)
    _temporary(warehouse, "served_mirrored", mirrored)
    for feature, type_, views in _audited(request):
        values = f"select id, {_verdict_columns(feature, type_, request, views)} {of_service}"
        yield _summary(warehouse, service.id, feature, type_, values)


def _temporary(warehouse: DuckDB, name: str, sql: str) -> None:
    warehouse.run(f"create or replace temp table {name} as {sql}")


def _audited(request: Request) -> Iterator[tuple[str, str, list[int]]]:
    """(feature, its type, the views by their place that it is of)."""
    types = _outputs(request)
    for i, read in enumerate(request.reads):
        for name in read.features:
            yield read.prefix + name, types[read.prefix + name], [i]
    for feature in _service(request).on_demand:
        read_by = names_read(feature.expression)
        views = [i for i, read in enumerate(request.reads) if read_by & {read.prefix + name for name in read.features}]
        yield feature.name, feature.type, views


def _cast_view(place: int, name: str, type_: str) -> str:
    return f"cast(json_extract_string(views, '$[{place}].{name}') as {type_})"


def _verdict_columns(feature: str, type_: str, request: Request, views: Sequence[int]) -> str:
    """Of one feature: whether it is compared, what was served, and whether a mirror was too old, or of the future."""
    old, ahead, withheld = [], [], []
    for i in views:
        every = request.views[request.reads[i].view].expected_every
        withheld.append(f"coalesce({_cast_view(i, 'withheld', 'boolean')}, false)")
        ahead.append(f"{_cast_view(i, 'as_of', 'timestamptz')} > served_at")
        if every is not None:
            seconds = int(STALE_FACTOR * every.total_seconds())
            old.append(f"served_at - {_cast_view(i, 'as_of', 'timestamptz')} > to_seconds({seconds})")
    # What the service gave later than this row has no name in it, and nothing to compare.
    compared = f"json_exists(features, '$.{feature}') and not ({' or '.join(withheld) or 'false'})"
    return (
        f"{compared} as compared, {_cast('features', feature, type_)} as value, "
        f"({' or '.join(old) or 'false'}) as old, ({' or '.join(ahead) or 'false'}) as ahead"
    )


def _summary(warehouse: DuckDB, service: str, feature: str, type_: str, values: str) -> FeatureAudit:
    name = quoted(feature)
    judged = (
        f"select id, value, e.{name} as expected, m.{name} as mirrored, "
        f"case when value is not distinct from e.{name} then 'match' "
        f"when ahead or value is distinct from m.{name} then 'skew' when old then 'stale' else 'lag' end as verdict "
        f"from ({values}) join served_expected as e on id = e.served_id join served_mirrored as m on id = m.served_id "
        "where compared"
    )
    counts = ", ".join(f"count(*) filter (verdict = '{v}') as {quoted(v)}" for v in ("match", "lag", "stale", "skew"))
    worst = "arg_max({}, (verdict = 'skew', verdict = 'stale', id)) filter (verdict != 'match')"
    examples = ", ".join(
        f"{worst.format(f'struct_pack(v := cast({column} as varchar))')}.v as {alias}"
        for column, alias in (
            ("id", "example"),
            ("value", "served"),
            ("expected", "expected"),
            ("mirrored", "mirrored"),
        )
    )
    sql = (
        f"select count(*) as rows, {counts}, max(difference) as max_difference, avg(difference) as mean_difference, "
        f"{examples} from (select *, case when verdict != 'match' then {_difference(type_)} end as difference "
        f"from ({judged}))"
    )
    (row,) = warehouse.query(sql).read_all().to_pylist()
    return FeatureAudit(service=service, feature=feature, **row)


def _difference(type_: str) -> str:
    """How far a number is from the expected one, as a double: subtracted exactly, then rounded."""
    if type_ in INTEGER_RANGES:
        exact = "hugeint"
    elif type_.startswith("decimal"):
        exact = f"decimal(38,{type_.rstrip(')').partition(',')[2]})"
    elif feature_type(type_).name in ("double", "float"):
        exact = "double"
    else:
        return "cast(null as double)"
    difference = "abs(value::{0} - expected::{0})".format
    # Beyond what the exact type holds, that of the doubles: an approximation.
    return f"coalesce(try({difference(exact)})::double, {difference('double')})"
