{# What to join, in order: [{view, features, keys, prefix, columns}], one item per view and role; `keys` maps join key ->
   spine column, `columns` feature -> output column. From a service when one is named, else from the call itself. #}
{% macro _feature_reads(feature_views, service, macro_name) %}

    {% if feature_views is string or feature_views is mapping or feature_views is not iterable or not feature_views %}
        {% do exceptions.raise_compiler_error(
            macro_name
            ~ ": `feature_views` must be a list of ref(...), got '"
            ~ feature_views
            ~ "'. Write feature_views=[ref('<feature view>', v=<version>), ...]."
        ) %}
    {% endif %}

    {% set requests = [] %}

    {% if service is none %}
        {% for item in feature_views %}
            {% set item = item if item is mapping and item.get("view") else {"view": item} %}

            {% do feature_warehouse._check_settings(item, "features", macro_name ~ ": item " ~ loop.index ~ " of `feature_views`") %}

            {% do requests.append(
                dict(item, view=feature_warehouse._feature_view(item.view, macro_name))
            ) %}
        {% endfor %}
    {% else %} {% do requests.extend(feature_warehouse._service_requests(feature_views, service, macro_name)) %}
    {% endif %}

    {% set reads = [] %}
    {% set owners = {} %}

    {% for request in requests %}
        {% set view = request.view %}
        {% set prefix = request.get("prefix") or "" %}
        {% set features = request.get("features") or view.features %}
        {% set renamed = request.get("keys") or {} %}
        {% set keys = {} %}
        {% set columns = {} %}

        {% for key in renamed if key not in view.join_keys %}
            {% do exceptions.raise_compiler_error(
                macro_name ~ ": " ~ view.id ~ " has no join key '" ~ key ~ "'; its join keys are " ~ view.join_keys | join(", ") ~ "."
            ) %}
        {% endfor %}

        {% for key in view.join_keys %} {% do keys.update({key: renamed.get(key, key)}) %} {% endfor %}

        {% for feature in features %}
            {% set output = prefix ~ feature %}

            {% if feature not in view.features %}
                {% do exceptions.raise_compiler_error(
                    macro_name ~ ": " ~ view.id ~ " has no feature '" ~ feature ~ "'; it has " ~ view.features | join(", ") ~ "."
                ) %}
            {% elif output in owners %}
                {% do exceptions.raise_compiler_error(
                    macro_name
                    ~ ": two features would be called '"
                    ~ output
                    ~ "', one from "
                    ~ owners[output]
                    ~ " and one from "
                    ~ view.id
                    ~ ". Give one of them a prefix: {'view': ref(...), 'prefix': '<word>_'}."
                ) %}
            {% endif %}

            {% do owners.update({output: view.id}) %}
            {% do columns.update({feature: output}) %}
        {% endfor %}

        {% do reads.append({"view": view, "keys": keys, "columns": columns}) %}
    {% endfor %}

    {{ return(reads) }}

{% endmacro %}
