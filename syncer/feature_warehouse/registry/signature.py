"""The signature of a service version: what its callers give and what they get, by name, origin and order.

Callers and models know a published version by it, and are not there when it changes. So within a version the only thing
that may come is a stored feature, for the keys that callers give already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from feature_warehouse.registry.feature import FeatureService, FeatureView


def breaks(
    was: FeatureService,
    views_then: Mapping[str, FeatureView],
    now: FeatureService,
    views_now: Mapping[str, FeatureView],
) -> Iterator[str]:
    """What a caller of ``was`` would trip over in ``now``, in words whose subject is the service; none: nothing.

    What an on-demand feature's expression means is not looked at.
    """
    gave, gives = _gives(was, views_then), _gives(now, views_now)
    for name, origin in gave.items():
        if name not in gives:
            yield f"no longer gives '{name}' ({origin}), which a model reads"
        elif gives[name] != origin:
            yield f"gives '{name}' as {gives[name]}, and gave it as {origin}"
    if gave.keys() <= gives.keys():
        kept = [name for name in gives if name in gave]
        for first, was_first in zip(kept, gave, strict=True):
            if first != was_first:
                yield f"gives '{first}' before '{was_first}', and gave it after: models may take them in their order"
                break
    computed = {feature.name for feature in was.on_demand}
    for feature in now.on_demand:
        if feature.name not in computed and feature.name not in gave:
            yield f"computes '{feature.name}' as well, and a row for which that fails would fail its callers"
    yield from _asks(was, views_then, now, views_now)


def _asks(
    was: FeatureService,
    views_then: Mapping[str, FeatureView],
    now: FeatureService,
    views_now: Mapping[str, FeatureView],
) -> Iterator[str]:
    given = _keys(was, views_then)
    for name, of in _keys(now, views_now).items():
        if name not in given:
            yield f"asks for the key '{name}' ({of}), which its callers do not give"
    for name, type_ in sorted(now.request.items()):
        before = was.request.get(name)
        if before is None:
            yield f"requests the value '{name}' ({type_}), which its callers do not give"
        elif before != type_:
            yield f"requests '{name}' as {type_}, and its callers give a {before}"
    for name in sorted(was.request.keys() - now.request.keys()):
        yield f"no longer requests the value '{name}', and refuses the callers who give it"


def _gives(service: FeatureService, views: Mapping[str, FeatureView]) -> dict[str, str]:
    """{output: where it comes from, in words}, in the order that callers see."""
    found = {}
    for read in service.views:
        keys = [key.name for key in views[read.view].entity.join_keys]
        names = [read.keys.get(key, key) for key in keys]
        by = "" if names == keys else f" by {', '.join(names)}"
        found.update({read.prefix + name: f"{name} of {read.view}{by}" for name in read.features})
    return found | {feature.name: f"{feature.type} computed on demand" for feature in service.on_demand}


def _keys(service: FeatureService, views: Mapping[str, FeatureView]) -> dict[str, str]:
    """{what callers call a join key: whose it is, in words}."""
    return {
        read.keys.get(key.name, key.name): f"{key.name} of {read.view}"
        for read in service.views
        for key in views[read.view].entity.join_keys
    }
