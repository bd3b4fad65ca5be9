"""A feature service as an exposure's YAML declares it, checked and made a fact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from feature_warehouse.errors import DefinitionError, closest
from feature_warehouse.project.manifest import place_of
from feature_warehouse.project.settings import SETTINGS, check_name, check_settings, is_names, read_each
from feature_warehouse.registry.feature import FeatureService, OnDemandFeature, ServiceView
from feature_warehouse.registry.types import feature_type

if TYPE_CHECKING:
    from feature_warehouse.project.declarations import DeclaredView

_ON_DEMAND = "`[{name: departure_hour, data_type: bigint, expression: ...}]`"


def read_service(
    exposure: dict[str, Any], declared: object, views: Mapping[str, DeclaredView], wrong: set[str]
) -> FeatureService:
    place = place_of(exposure)
    if not isinstance(declared, dict):
        raise DefinitionError(f"{place}: config.meta.feature_service is {declared!r}, not a mapping", "write name: ...")
    check_settings(declared, "feature_service", f"{place}, config.meta.feature_service")
    check_name(declared.get("name"), f"{place}: the service's name")
    version = declared.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DefinitionError(f"{place}: the service's version is {version!r}", "write a whole number: `version: 1`")
    reads = declared.get("features")
    if not isinstance(reads, list) or not reads:
        raise DefinitionError(
            f"{place}: the service reads no features", "add `features: [{view: ..., features: [...]}]`"
        )
    on_demand = declared.get("on_demand") or []
    if not isinstance(on_demand, list):
        raise DefinitionError(f"{place}: on_demand is {on_demand!r}", f"write a list: {_ON_DEMAND}")
    service = FeatureService(
        name=declared["name"],
        version=version,
        views=tuple(read_each(reads, lambda read: _read_service_view(read, views, wrong, place))),
        request=_read_request(declared.get("request") or {}, place),
        on_demand=tuple(read_each(on_demand, lambda item: _read_on_demand(item, place))),
        owner=exposure.get("owner", {}).get("name") or exposure.get("owner", {}).get("email") or "",
    )
    _check_versions(service, views, place)
    _check_outputs(service, place)
    _check_request(service, views, place)
    named = {views[read.view].unique_id for read in service.views}
    depends = {node for node in exposure["depends_on"]["nodes"] if node in {v.unique_id for v in views.values()}}
    if named != depends:
        by_id = {declared_view.unique_id: declared_view.view.id for declared_view in views.values()}
        missing = ", ".join(sorted(by_id[node] for node in named - depends))
        spare = ", ".join(sorted(by_id[node] for node in depends - named))
        raise DefinitionError(
            f"{place}: depends_on and features disagree"
            + (f"; depends_on lacks {missing}" if missing else "")
            + (f"; no feature is read of {spare}" if spare else ""),
            "list one ref('<view>', v=<version>) in depends_on for each view under features",
        )
    return service


def _read_service_view(read: object, views: Mapping[str, DeclaredView], wrong: set[str], place: str) -> ServiceView:
    if not isinstance(read, dict) or not isinstance(read.get("view"), str):
        raise DefinitionError(f"{place}: {read!r} names no view", "write `{view: carrier_delays.v2, features: [...]}`")
    id_ = read["view"]
    check_settings(read, "features", f"{place}, {id_}")
    if id_ in wrong:
        raise DefinitionError(
            f"{place}: {id_} is declared wrongly, so the service cannot be read", "mend the view first"
        )
    if id_ not in views:
        raise DefinitionError(f"{place}: there is no feature view '{id_}'", closest(id_, views, "declared views"))
    view = views[id_].view
    features: Any = read.get("features")
    if not is_names(features):
        raise DefinitionError(f"{place}: no features are read of {id_}", "list them: `features: [delay_rate_7d]`")
    by_name = {feature.name: feature for feature in view.features}

    def check(name: str) -> None:
        if name not in by_name:
            raise DefinitionError(f"{place}: {id_} has no feature '{name}'", closest(name, by_name, "its features"))
        try:
            feature_type(by_name[name].type)
        except DefinitionError as error:
            raise DefinitionError(f"{views[id_].path}: {id_}, column '{name}': {error.message}", error.hint) from None

    read_each(features, check)
    keys = read.get("keys") or {}
    if not isinstance(keys, dict):
        raise DefinitionError(f"{place}: the keys of {id_} are {keys!r}", "map join keys to names: `{airport: origin}`")
    join_keys = {key.name for key in view.entity.join_keys}
    for key, name in keys.items():
        if key not in join_keys:
            raise DefinitionError(f"{place}: {id_} has no join key '{key}'", closest(key, join_keys, "its join keys"))
        check_name(name, f"{place}: the name for the join key '{key}' of {id_}")
    prefix = read.get("prefix") or ""
    if not isinstance(prefix, str):
        raise DefinitionError(f"{place}: the prefix for {id_} is {prefix!r}", "write a text: `prefix: origin_`")
    return ServiceView(view=id_, features=tuple(features), keys=dict(keys), prefix=prefix)


def _read_request(request: object, place: str) -> dict[str, str]:
    if not isinstance(request, dict):
        raise DefinitionError(f"{place}: request is {request!r}", "map names to types: `{distance_miles: double}`")
    for name in request:
        check_name(name, f"{place}: the request value's name")
    return dict(read_each(request.items(), lambda item: (item[0], _typed(item[0], item[1], place))))


def _read_on_demand(item: object, place: str) -> OnDemandFeature:
    if isinstance(item, dict):
        check_settings(item, "on_demand", f"{place}, on_demand")
    if not isinstance(item, dict) or item.keys() != SETTINGS["on_demand"]:
        raise DefinitionError(f"{place}: {item!r} is no on-demand feature", f"write a list: {_ON_DEMAND}")
    check_name(item["name"], f"{place}: the on-demand feature's name")
    return OnDemandFeature(item["name"], _typed(item["name"], item["data_type"], place), str(item["expression"]))


def _typed(name: str, data_type: object, place: str) -> str:
    try:
        return feature_type(str(data_type)).name
    except DefinitionError as error:
        raise DefinitionError(f"{place}, '{name}': {error.message}", error.hint) from None


def _check_versions(service: FeatureService, views: Mapping[str, DeclaredView], place: str) -> None:
    read: dict[str, str] = {}
    for one in service.views:
        other = read.setdefault(views[one.view].view.name, one.view)
        if other != one.view:
            raise DefinitionError(
                f"{place}: it reads {other} and {one.view}, two versions of one feature view",
                "read all features of one version; a newer version can take in what the older one has",
            )


def _check_outputs(service: FeatureService, place: str) -> None:
    owners: dict[str, str] = {}
    outputs = [(read.prefix + name, read.view) for read in service.views for name in read.features]
    outputs += [(feature.name, "on_demand") for feature in service.on_demand]
    for output, owner in outputs:
        check_name(output, f"{place}: the feature name")
        if output in owners:
            raise DefinitionError(
                f"{place}: two features are called '{output}', of {owners[output]} and of {owner}",
                "give one of the views a `prefix:`",
            )
        owners[output] = owner
    for name in service.request:
        if name in owners:
            raise DefinitionError(
                f"{place}: '{name}' is a request value and a feature, of {owners[name]}",
                "give one of them another name",
            )


def _check_request(service: FeatureService, views: Mapping[str, DeclaredView], place: str) -> None:
    types = {name: (type_, "request") for name, type_ in service.request.items()}
    for read in service.views:
        for key in views[read.view].view.entity.join_keys:
            name = read.keys.get(key.name, key.name)
            type_, owner = types.setdefault(name, (key.type, read.view))
            if type_ != key.type:
                raise DefinitionError(
                    f"{place}: '{name}' is a {type_} for {owner} and a {key.type} for {read.view}",
                    "read one of them under another name: keys: {<join key>: <name>}",
                )
