{# The join keys of a feature view, checked. dbt puts the list of a model and that of one of its versions end to end, the
   version's first: what a version adds to another one's keys is refused, since it cannot be told from a list of its own.
   The same rule as syncer/feature_warehouse/project/declared_view.py, `_check_join_keys`. #}
{% macro _join_keys(id, where) %}

    {% set facts = feature_warehouse.view_facts() %}
    {% set keys = facts[id].declared.join_keys %}
    {% set once = (
        "dbt puts the list of a model and that of its version end to end: give `join_keys` on the model, or in the config of"
        ~ " each version, never in both"
    ) %}

    {% if keys is string or keys is mapping or keys is not iterable %}
        {% do exceptions.raise_compiler_error(
            where ~ ": `join_keys` is '" ~ keys ~ "'. Write a list of columns: join_keys: [<column>]."
        ) %}
    {% elif keys | unique | list | length < keys | length %}
        {% do exceptions.raise_compiler_error(
            where ~ ": `join_keys` is [" ~ keys | join(", ") ~ "], where a column is repeated. Name each once; " ~ once ~ "."
        ) %}
    {% endif %}

    {% for other, fact in facts.items() if other != id and other.rpartition(".v")[0] == id.rpartition(".v")[0] %}
        {% set others = fact.declared.get("join_keys") or [] %}

        {% if others and keys | length > others | length and keys[-(others | length) :] == others %}
            {% do exceptions.raise_compiler_error(
                where
                ~ ": `join_keys` is ["
                ~ keys | join(", ")
                ~ "], which ends with those of "
                ~ other
                ~ ", ["
                ~ others | join(", ")
                ~ "]. "
                ~ once
                ~ ". If all of them are keys of "
                ~ id
                ~ ", list them in another order."
            ) %}
        {% endif %}
    {% endfor %}

    {{ return(keys) }}

{% endmacro %}
