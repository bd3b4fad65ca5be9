{# PostgreSQL: where each history has an index on its join keys and then its event time, each spine row looks up the one row
   that it gets, from the newest event back. Without the index that would read a whole history for each row of the spine, so
   every known row is ranked instead. A spine whose columns nobody can tell yet (a subquery, a unit test) is taken to be small. #}
{% macro postgres__point_in_time_select(
    spine, spine_columns, spine_timestamp, reads, on_demand, allow_equal, known_as_of
) %}

    {% do feature_warehouse._only_for("postgres", "point_in_time_join", "point_in_time_select") %}
    {% set asked = feature_warehouse._quoted(spine_timestamp) %}
    {% set comparison = "<=" if allow_equal else "<" %}
    {% set unindexed = [] %}

    {% for read in reads if spine_columns and not feature_warehouse._is_indexed(read.view) %}
        {% do unindexed.append(read.view.id) %}
    {% endfor %}

    {% if unindexed %}
        {{ return(
            feature_warehouse.portable__point_in_time_select(
                spine=spine,
                spine_columns=spine_columns,
                spine_timestamp=spine_timestamp,
                reads=reads,
                on_demand=on_demand,
                allow_equal=allow_equal,
                known_as_of=known_as_of,
            )
        ) }}
    {% endif %}

    {% if on_demand %} {% do feature_warehouse._no_on_demand(on_demand) %} {% endif %}

    with

        spine as (
            select *
            from {{ feature_warehouse._aliased(spine, "given") }}
            {% if not spine_columns %}
                where
                    {{ feature_warehouse._instant_or_error(
                        asked, feature_warehouse._naive_spine(spine_timestamp, none, "point_in_time_join")
                    ) }}
            {% endif %}
        ),

        final as (
            select
                spine.*
                {%- for read in reads %}
                    {% set newest = "newest_" ~ loop.index %}
                    {%- for feature, output in read["columns"].items() %}
                        ,
                        {{ newest }}.{{ feature_warehouse._quoted(feature) }} as {{ feature_warehouse._quoted(output) }}
                    {%- endfor %}
                {%- endfor %}
            from spine
            {% for read in reads %}
                    {% set view = read.view %}
                    {% set newest = "newest_" ~ loop.index %}
                    {% set event = "history." ~ feature_warehouse._quoted(view.event_timestamp) %}
                    {% set known = "history." ~ feature_warehouse._quoted(view.available_at or view.event_timestamp) %}
                    {% set delay = view.sync_delay_seconds %}
                    {% set moment = (
                    "spine." ~ asked ~ (" - " ~ feature_warehouse._interval(delay) if delay else "")
                ) %}
                -- {{ view.id }}: the newest event known at the time of each spine row
                left join
                    lateral(
                        select
                            {{ event }} as __event
                            {% if view.deleted %}
                                , coalesce(history.{{ feature_warehouse._quoted(view.deleted) }}, false) as __deleted
                            {% endif %}
                            {% for feature in feature_warehouse._quoted(read["columns"].keys()) %}
                                , history.{{ feature }}
                            {% endfor %}
                        from {{ view.relation }} as history
                        where
                            {{ feature_warehouse._same_keys(read["keys"], "history") }}
                            and {{ event }} {{ comparison }} {{ moment }}
                            and {{ known }} {{ comparison }} {{ moment }}
                            {% if known_as_of %}
                                and {{ known }} <= {{ feature_warehouse._instant(known_as_of) }}
                            {% endif %}
                        order by {{ event }} desc, {{ known }} desc
                        limit 1
                    ) as {{ newest }}
                    on true
                    {% if view.deleted %} and not {{ newest }}.__deleted {% endif %}
                    {% if view.ttl_seconds is not none %}
                        and {{ newest }}.__event
                        >= spine.{{ asked }} - {{ feature_warehouse._interval(view.ttl_seconds) }}
                    {% endif %}
            {% endfor %}
        )

    select *
    from final

{% endmacro %}

{# True if a whole index of a view begins with its join keys, in any order, and its event time. #}
{% macro _is_indexed(view) %}

    {% if view.relation is string %} {{ return(false) }} {% endif %}

    {% set keys = [] %}
    {% for key in view.join_keys %} {% do keys.append(feature_warehouse._text(key)) %} {% endfor %}

    {% set found %}
        select count(*)
        from pg_catalog.pg_index as indexed
        inner join pg_catalog.pg_class as made on indexed.indexrelid = made.oid
        inner join pg_catalog.pg_am as method on made.relam = method.oid
        cross join
            lateral(
                select
                    array_agg(cast(columns.attname as text)) filter (where part.place <= {{ keys | length }}) as keys,
                    max(cast(columns.attname as text)) filter (where part.place = {{ keys | length + 1 }}) as event
                from unnest(cast(indexed.indkey as int2[])) with ordinality as part(number, place)
                inner join
                    pg_catalog.pg_attribute as columns
                    on columns.attrelid = indexed.indrelid
                    and columns.attnum = part.number
            ) as part
        where
            indexed.indrelid = to_regclass({{ feature_warehouse._text(view.relation | string) }})
            and indexed.indisvalid
            and indexed.indpred is null
            and method.amname = 'btree'
            and part.keys @> cast(array[{{ keys | join(", ") }}] as text[])
            and part.event = {{ feature_warehouse._text(view.event_timestamp) }}
    {% endset %}

    {{ return(run_query(found).columns[0].values()[0] > 0) }}

{% endmacro %}
