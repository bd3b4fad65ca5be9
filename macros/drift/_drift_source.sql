{# What is profiled, checked and ready to use:
   {name, type (feature_view, service or model), relation, join_keys, event_timestamp, available_at, deleted,
   features: {feature: {data_type, kind (number, category or presence), is_ordered, is_boolean, settings (config.meta.drift
   of its column)}}}.
   Call it only when executing. #}
{% macro _drift_source(relation, timestamp, features, service, macro_name) %}

    {% set view_id = feature_warehouse._view_id_or_none(relation) %}

    {% if view_id is not none and (timestamp is not none or service is not none) %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": "
            ~ view_id
            ~ " is a feature view, so its time comes from its metadata. Leave `timestamp` and `service` out."
        ) %}
    {% elif view_id is none and timestamp is none %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": "
            ~ relation
            ~ " is not a feature view. Name the column that says when each row was: timestamp='<column>'."
        ) %}
    {% endif %}

    {% set source = {
        "name": view_id or service or relation.identifier,
        "type": "feature_view" if view_id else "service" if service else "model",
        "relation": relation,
        "join_keys": [],
        "event_timestamp": timestamp,
        "available_at": none,
        "deleted": none,
        "features": {},
    } %}
    {% set settings = {} %}

    {% if view_id is not none %}
        {% set view = feature_warehouse._feature_view(relation, macro_name) %}
        {% do source.update(
            {
                "join_keys": view.join_keys,
                "event_timestamp": view.event_timestamp,
                "available_at": view.available_at,
                "deleted": view.deleted,
            }
        ) %}
        {% set types = view.columns %}
        {% set known = view.features %}
        {% do settings.update(feature_warehouse.view_facts()[view_id].get("drift", {})) %}
    {% else %}
        {% set types = features if features is mapping else feature_warehouse._column_types(relation) %}
        {% set known = feature_warehouse._drift_service_features(service, settings, macro_name) if service else (
            types.keys() | reject("equalto", timestamp) | list
        ) %}
    {% endif %}

    {% for feature in (features.keys() if features is mapping else features) or [] if feature not in known %}
        {% do exceptions.raise_compiler_error(
            macro_name ~ ": " ~ source.name ~ " has no feature '" ~ feature ~ "'; it has " ~ known | join(", ") ~ "."
        ) %}
    {% endfor %}

    {% for feature in features or known if settings.get(feature) is not sameas false %}
        {% if types and feature not in types %}
            {% do exceptions.raise_compiler_error(
                macro_name
                ~ ": "
                ~ relation
                ~ " has no column '"
                ~ feature
                ~ "', which "
                ~ source.name
                ~ " reads; it has "
                ~ types.keys() | join(", ")
                ~ "."
            ) %}
        {% endif %}

        {% set data_type = types.get(feature) or "varchar" %}
        {% set key_kind = feature_warehouse._key_kind(data_type) if "[" not in data_type else none %}
        {% do source.features.update(
            {
                feature: {
                    "data_type": data_type,
                    "kind": feature_warehouse._drift_kind(key_kind),
                    "is_ordered": key_kind is not none,
                    "is_boolean": key_kind == "a boolean",
                    "settings": settings.get(feature) or {},
                }
            }
        ) %}
    {% endfor %}

    {{ return(source) }}

{% endmacro %}

{# How values are compared. An instant or a date moves on by itself, and a list or a struct has no bins of its own: of these
   only the presence is. #}
{% macro _drift_kind(key_kind) %}

    {% set kinds = {
        "an integer": "number",
        "a number with a fraction": "number",
        "a text": "category",
        "a boolean": "category",
    } %}
    {{ return(kinds.get(key_kind, "presence")) }}

{% endmacro %}

{# The names of a service's features, and in `settings` what their columns declare. #}
{% macro _drift_service_features(service, settings, macro_name) %}

    {% set declared_service = feature_warehouse._feature_service(service, macro_name) %}
    {% set facts = feature_warehouse.view_facts() %}
    {% set names = [] %}

    {% for read in declared_service.features %}
        {% for feature in read.features %}
            {% set name = (read.get("prefix") or "") ~ feature %}
            {% set declared = facts.get(read.view, {}).get("drift", {}).get(feature) %}
            {% do names.append(name) %}

            {% if declared is not none %} {% do settings.update({name: declared}) %} {% endif %}
        {% endfor %}
    {% endfor %}

    {% for feature in declared_service.get("on_demand") or [] %} {% do names.append(feature.name) %} {% endfor %}

    {{ return(names) }}

{% endmacro %}
