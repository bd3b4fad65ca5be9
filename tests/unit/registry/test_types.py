"""types: what people write as data_type, and what of it can be served."""

from __future__ import annotations

import subprocess
import sys

import duckdb
import pytest

from feature_warehouse.errors import UnsupportedTypeError
from feature_warehouse.registry.types import INTEGER_RANGES, FeatureType, canonical, feature_type, key_type

#: As authored -> canonical.
CANONICAL = {
    "BIGINT": "bigint",
    "int8": "bigint",
    "long": "bigint",
    "int": "integer",
    "int4": "integer",
    "int2": "smallint",
    "int1": "tinyint",
    "uint8": "utinyint",
    "uint64": "ubigint",
    "int128": "hugeint",
    "bool": "boolean",
    "float4": "float",
    "real": "float",
    "float(10)": "float",
    "float8": "double",
    "Double  Precision": "double",
    "numeric": "decimal(18,3)",
    "decimal": "decimal(18,3)",
    "decimal(9)": "decimal(9,0)",
    "dec(5,1)": "decimal(5,1)",
    "NUMERIC ( 10 , 2 )": "decimal(10,2)",
    "text": "varchar",
    "string": "varchar",
    "char": "varchar",
    "varchar(10)": "varchar",
    "character varying": "varchar",
    "character varying (10)": "varchar",
    "bytea": "blob",
    "varbinary": "blob",
    "guid": "uuid",
    "timestamp with time zone": "timestamptz",
    "TIMESTAMPTZ": "timestamptz",
    "timestamp": "timestamp",
    "timestamp(6)": "timestamp",
    "datetime": "timestamp",
    "timestamp without time zone": "timestamp",
    "date": "date",
    "float[]": "float[]",
    "int8 [ ]": "bigint[]",
    "double[3]": "double[3]",
    "Real [768]": "float[768]",
    "int array": "integer[]",
    "double array[3]": "double[3]",
    "numeric[]": "decimal(18,3)[]",
    "double[][]": "double[][]",
}

#: What DuckDB does not read, but dbt projects of other databases carry.
FOREIGN = {
    "timestamp(6) with time zone": "timestamptz",
    "list<double>": "double[]",
    "array(bigint)": "bigint[]",
}

SERVED = {
    "boolean": FeatureType("boolean", "bool"),
    "tinyint": FeatureType("tinyint", "sint64"),
    "uinteger": FeatureType("uinteger", "sint64"),
    "int8": FeatureType("bigint", "sint64"),
    "ubigint": FeatureType("ubigint", "uint64"),
    "hugeint": FeatureType("hugeint", "string", "integer"),
    "uhugeint": FeatureType("uhugeint", "string", "integer"),
    "float": FeatureType("float", "float"),
    "double": FeatureType("double", "double"),
    "decimal(38,38)": FeatureType("decimal(38,38)", "string", "decimal"),
    "varchar(3)": FeatureType("varchar", "string"),
    "uuid": FeatureType("uuid", "string"),
    "blob": FeatureType("blob", "bytes"),
    "date": FeatureType("date", "sint32", "date"),
    "timestamptz": FeatureType("timestamptz", "sfixed64", "timestamp"),
    "utinyint[]": FeatureType("utinyint[]", "sint64", is_list=True),
    "ubigint[]": FeatureType("ubigint[]", "uint64", is_list=True),
    "real[]": FeatureType("float[]", "float", is_list=True),
    "double[768]": FeatureType("double[768]", "double", is_list=True),
}

NOT_SERVED = {
    "timestamp": "at time zone",
    "timestamp_ns": "at time zone",
    "timestamptz_ns": "cast it to timestamptz",
    "decimal(39,2)": "precision 1 to 38",
    "decimal(4,5)": "precision 1 to 38",
    "varchar[]": "lists hold",
    "boolean[]": "lists hold",
    "date[]": "lists hold",
    "decimal(4,1)[]": "lists hold",
    "hugeint[]": "lists hold",
    "double[][]": "lists hold",
    "double[0]": "lists hold",
    "interval": "cast it",
    "time": "cast it",
    "json": "cast it",
    "struct(a integer, b varchar)": "cast it",
    "map(varchar, double)": "cast it",
    "enum('a', 'b')": "cast it",
    "": "cast it",
}

KEYS = ["tinyint", "int8", "ubigint", "hugeint", "text", "date", "timestamptz", "bool", "uuid"]

NOT_KEYS = {
    "double": "several texts",
    "real": "several texts",
    "numeric(9,0)": "several texts",
    "timestamp": "at time zone",
    "blob": "a join key is",
    "bigint[]": "a join key is",
    "json": "a join key is",
}


@pytest.mark.parametrize(("authored", "name"), (CANONICAL | FOREIGN).items())
def test_every_alias_has_one_canonical_name(authored, name):
    assert canonical(authored) == name
    assert canonical(name) == name


@pytest.mark.parametrize(("authored", "name"), CANONICAL.items())
def test_duckdb_reads_the_alias_and_the_canonical_name_as_the_same_type(authored, name):
    rows = duckdb.execute(f"select typeof(null::{authored}) = typeof(null::{name})").fetchall()
    assert rows == [(True,)]


def test_every_scalar_alias_of_duckdb_is_known():
    rows = duckdb.execute("""
        select type_name, lower(logical_type) from duckdb_types()
        where logical_type in ('BOOLEAN', 'TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT', 'UTINYINT',
            'USMALLINT', 'UINTEGER', 'UBIGINT', 'UHUGEINT', 'FLOAT', 'DOUBLE', 'VARCHAR', 'BLOB', 'DATE', 'UUID')
    """).fetchall()
    assert len(rows) > 40
    assert {alias.lower() for alias, name in rows if canonical(alias) != name} == {"json"}  # text, but not any text


def test_an_unknown_type_comes_back_in_lower_case_with_single_blanks():
    assert canonical("  Geometry \n POINT ") == "geometry point"
    assert canonical("STRUCT( a INT,  b INT )") == "struct(a int,b int)"


@pytest.mark.parametrize(("authored", "expected"), SERVED.items())
def test_a_served_type_has_one_form_in_protobuf(authored, expected):
    assert feature_type(authored) == expected


@pytest.mark.parametrize(("authored", "hint"), NOT_SERVED.items())
def test_other_types_are_refused_by_name_with_a_way_out(authored, hint):
    with pytest.raises(UnsupportedTypeError) as caught:
        feature_type(authored)
    assert f"'{canonical(authored)}'" in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("authored", KEYS)
def test_exact_scalar_types_can_be_join_keys(authored):
    assert key_type(authored) == canonical(authored)


@pytest.mark.parametrize(("authored", "hint"), NOT_KEYS.items())
def test_types_without_one_exact_text_cannot_be_join_keys(authored, hint):
    with pytest.raises(UnsupportedTypeError) as caught:
        key_type(authored)
    assert f"'{canonical(authored)}'" in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(("name", "limits"), INTEGER_RANGES.items())
def test_integer_ranges_are_duckdbs(name, limits):
    for limit in limits:
        assert duckdb.execute(f"select '{limit}'::{name}::varchar").fetchone() == (str(limit),)
    for beyond in (limits[0] - 1, limits[1] + 1):
        with pytest.raises(duckdb.ConversionException):
            duckdb.execute(f"select '{beyond}'::{name}")


def test_the_reading_modules_import_without_numpy_pyarrow_and_duckdb():
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['numpy', 'pyarrow', 'duckdb']))\n"
        "from feature_warehouse.registry import feature, types\n"
        "from feature_warehouse.wire import decode, keyspace, resp\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
