"""What a service computes on demand: checked before it is registered, by sqlglot for meaning and by DuckDB for types.

An expression has to give the same value in a training set, in a batch and online, from one row's features and request
values alone: no clock, no chance, no other rows, no type that is cast unseen. And once registered it is what a model
was trained with, so within a service version it only changes in its spelling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from feature_warehouse.client.ondemand import expression_type, readable
from feature_warehouse.errors import DefinitionError, RegistryError
from feature_warehouse.registry.feature import FeatureService, FeatureView, OnDemandFeature
from feature_warehouse.sql.changes import check_on_demand, same_on_demand


def service_problems(
    services: Mapping[str, FeatureService], views: Mapping[str, FeatureView]
) -> Iterator[DefinitionError]:
    """Every on-demand feature that cannot be served as it is declared, in order."""
    for service in services.values():
        types = readable(service, views)
        for feature in service.on_demand:
            problem = _problem(feature, types)
            if problem is not None:
                what = f"{service.id}: the on-demand feature '{feature.name}', {feature.expression}: {problem.message}"
                yield DefinitionError(what, problem.hint or f"it may read {', '.join(types) or 'nothing'}")


def changed_expressions(
    accepted: Mapping[str, FeatureService],
    declared: Mapping[str, FeatureService],
    views: Mapping[str, FeatureView],
) -> Iterator[RegistryError]:
    """Every on-demand feature that is computed otherwise than in the service version that was registered."""
    for id_ in accepted.keys() & declared.keys():
        types = readable(declared[id_], views)
        before = {feature.name: feature for feature in accepted[id_].on_demand}
        for feature in declared[id_].on_demand:
            old = before.get(feature.name)
            if old is not None and not same_on_demand(old.expression, feature.expression, types):
                yield RegistryError(
                    f"{id_}: the on-demand feature '{feature.name}' was {old.expression} and is {feature.expression}, "
                    "so models would be served other values than they were trained on",
                    "leave it, and declare a new version of the service beside this one",
                )


def _problem(feature: OnDemandFeature, types: Mapping[str, str]) -> DefinitionError | None:
    meaning = check_on_demand(feature.expression, types)
    if meaning.problems:
        return DefinitionError("; ".join(meaning.problems))
    try:
        type_ = expression_type(feature.expression, types)
    except DefinitionError as problem:
        return problem
    if type_ != feature.type:
        return DefinitionError(
            f"its type is {type_}, but its data_type is {feature.type}",
            f"write data_type: {type_}, or cast({feature.expression} as {feature.type})",
        )
    return None
