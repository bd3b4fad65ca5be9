{# The SQL of the point-in-time join, from checked arguments. Semantics: docs/guides/point-in-time.md.

   A row counts from the moment both its times have passed, the later of the two, so "known at t" is one inequality. Among
   the rows that count, the newest event wins, but DuckDB's ASOF join takes the row that began to count last. The two agree
   once every row is dropped that another one had overtaken when it began to count; _history.sql drops them. #}
{% macro duckdb__point_in_time_select(
    spine, spine_columns, spine_timestamp, reads, on_demand, allow_equal, known_as_of
) %}

    {% set asked = feature_warehouse._quoted(spine_timestamp) %}
    {% set reads = feature_warehouse._planned_reads(reads, spine, spine_timestamp) %}

    with

        spine as (
            select *
            from {{ spine }}
            where
                true
                {% for read in reads if read.get("settled") %}
                    and {{ feature_warehouse._settled_is_current(read) }}
                {% endfor %}
                {% if not spine_columns %}
                    and {{ feature_warehouse._instant_or_error(
                        asked, feature_warehouse._naive_spine(spine_timestamp, none, "point_in_time_join")
                    ) }}
                {% endif %}
        ),

        {% for read in reads %} {{ feature_warehouse._history(read, loop.index, known_as_of) }} {% endfor %}

        {# What is unknown matches nothing: DuckDB 1.5's ASOF join gives it other rows' values. No struct of the features: the
           loops that join a few spine rows turn -0.0 in it into 0.0 (in a list they still do). #}
        final as (
            select
                spine.*,
                {% for read in reads %}
                    {% set i = loop.index %}
                    {% set last_read = loop.last %}
                    {% for feature, output in read["columns"].items() %}
                        case
                            when
                                spine.{{ asked }} is not null
                                {% for column in feature_warehouse._quoted(read["keys"].values()) %}
                                    and spine.{{ column }} is not null
                                {% endfor %}
                                {% if read.view.deleted %}
                                    and not {{ feature_warehouse._found(read, i, "__deleted") }}
                                {% endif %}
                                {% if read.view.ttl_seconds is not none %}
                                    and {{ feature_warehouse._found(read, i, "__event") }}
                                    >= spine.{{ asked }} - {{ feature_warehouse._interval(read.view.ttl_seconds) }}
                                {% endif %}
                            then {{ feature_warehouse._found(read, i, feature_warehouse._quoted(feature)) }}
                        end as {{ feature_warehouse._quoted(output) }}{{ "," if not (last_read and loop.last) }}
                    {% endfor %}
                {% endfor %}
            from spine
            {% for read in reads %}
                    {% set i = loop.index %}
                    {% set delay = read.view.sync_delay_seconds %}
                {% for history in ["history_" ~ i] + (["late_" ~ i] if read.split else []) %}
                    asof left join
                        {{ history }}
                        on {{ feature_warehouse._same_keys(read["keys"], history) }}
                        and spine.{{ asked }} {{ "- " ~ feature_warehouse._interval(delay) if delay }}
                        {{ ">=" if allow_equal else ">" }} {{ history }}.__since
                {% endfor %}
            {% endfor %}
        )

        {% if on_demand %} {{ feature_warehouse._select_on_demand(on_demand) }}
    {% else %} select * from final
    {% endif %}

{% endmacro %}

{% macro default__point_in_time_select(
    spine, spine_columns, spine_timestamp, reads, on_demand, allow_equal, known_as_of
) %}
    {% do feature_warehouse._no_form("point_in_time_join", "point_in_time_select") %}
{% endmacro %}

{# A column of the row that counts: where there are two, of the one with the newer event. #}
{% macro _found(read, i, column) %}
    {%- if read.split -%}
        case
            when late_{{ i }}.__event < history_{{ i }}.__event or late_{{ i }}.__event is null
            then history_{{ i }}.{{ column }}
            else late_{{ i }}.{{ column }}
        end
    {%- else -%} history_{{ i }}.{{ column }}
    {%- endif -%}
{% endmacro %}

{% macro _same_keys(keys, alias) %}
    {%- for key, column in keys.items() -%}
        spine.{{ feature_warehouse._quoted(column) }}
        = {{ alias }}.{{ feature_warehouse._quoted(key) }}{{ " and " if not loop.last }}
    {%- endfor -%}
{% endmacro %}
