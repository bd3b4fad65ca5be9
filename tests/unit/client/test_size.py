"""What an expression may make of small values: nothing that a process stumbles over, whoever wrote it into Redis."""

from __future__ import annotations

import pytest

from feature_warehouse.client.ondemand import OnDemand, expression_type
from feature_warehouse.errors import DefinitionError
from feature_warehouse.registry.feature import FeatureService, OnDemandFeature

TYPES = {"t": "varchar", "n": "double"}

#: Each would take more than a gigabyte, or seconds that nobody can interrupt, for one row or for some hundred.
BEYOND = [
    "replace(replace(t, 'x', repeat('y', 1000)), 'y', repeat('z', 100))",
    "replace(repeat('x', 10000), 'x', repeat('y', 10000))",
    "replace(t, left(t, 1), repeat('y', 10000))",
    "repeat(repeat('x', 1000), 1000)",
    "repeat(t || 'x', 10000)",
    "repeat([t], 10000)[1:2]",
    "regexp_replace(repeat(t, 100), '', 'yyyyyyyyyyy', 'g')",
    "regexp_replace(repeat('x', 1000), '.', '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0', 'g')",  # noqa: E501
    "lpad(t, 10000, 'y') || repeat(repeat('x', 400), 400)",
    "list_transform(range(1000), lambda i: repeat('x', 1000))",
    "list_sum(list_transform(range(1000), lambda i: list_sum(range(1000))))",
    "list_sum(list_transform(range(400), lambda i: list_sum(list_transform(range(400), lambda j: i + j))))",
    "list_filter(range(10000), lambda i: repeat('x', 100) = 'x')",
    "[length(repeat('x', 1000)) for i in range(1000)]",
    "list_resize([repeat('x', 1000)], 1000, repeat('x', 1000))",
    "damerau_levenshtein(repeat('x', 10000), repeat('y', 10000))",
    "to_json(to_json(to_json(to_json(to_json(t)))))",
    "bin(bin(bin(bin(t))))",
    "concat_ws(repeat('x', 10000), " + ", ".join(["'a'"] * 12) + ")",
    "case when n > 0 then replace(repeat('x', 10000), 'x', repeat('y', 10000)) end",
    "coalesce(n, length(replace(repeat('x', 10000), 'x', repeat('y', 10000))))",
    "n between 1 and length(repeat(repeat('x', 1000), 1000))",
    "REPLACE(Repeat('x', 10000), 'x', REPEAT('y', 10000))::blob",
    "repeat(t, 5000) || repeat(t, 5000)",
]

#: As people write them.
PLAIN = [
    "replace(replace(replace(replace(lower(t), '-', ''), '_', ' '), '.', ''), ',', '')",
    "replace(t, 'USD', 'US dollars')",
    "regexp_replace(regexp_replace(trim(t), '[^a-z]', ' ', 'g'), ' +', ' ', 'g')",
    "regexp_replace(t, '(.*), (.*)', '\\2 \\1')",
    "lpad(n::bigint::varchar, 10, '0') || repeat('-', 80)",
    "list_sum(range(10000))",
    "list_sum(list_transform(range(1000), lambda i: i * n))",
    "list_sum([i * n for i in [1, 2, 3] if i > 2])",
    "list_sum(list_transform([n, 1, 2], lambda i: list_sum(list_transform(range(24), lambda j: i * j))))",
    "levenshtein(t, 'Newark Liberty International Airport')",
    "concat_ws(', ', t, t, t)",
    "to_json(t)::varchar",
    " + ".join(["n"] * 300),
    "case " + " ".join(f"when n < {i} then repeat('x', {i})" for i in range(1, 60)) + " end",
]


@pytest.mark.parametrize("expression", BEYOND)
def test_what_grows_beyond_bounds_is_refused_before_it_is_run(expression: str) -> None:
    with pytest.raises(DefinitionError, match=r"it may make one of [0-9,]+, and 100,000 is the most|nested too deep"):
        expression_type(expression, TYPES)


@pytest.mark.parametrize("expression", PLAIN, ids=range(len(PLAIN)))
def test_what_people_write_is_computed(expression: str) -> None:
    made = OnDemandFeature("made", expression_type(expression, TYPES), expression)
    service = FeatureService(name="s", version=1, views=(), request=TYPES, on_demand=(made,))
    assert len(OnDemand(service, {}).compute({"n": [7.0, 1.0], "t": ["Newark, Liberty", None]}, 2)[0]) == 2
