{# The CTEs of the tree (see rolling_select.sql) between `numbered`, the rows with their __row and __levels, and `points`, the
   same rows with <value>_<window>_<measure> for each of `trees`, {window: [(value, measure)]}. Rows are numbered through all
   entities, so a node's number alone says whose it is. #}
{% macro _rolling_tree(join_keys, trees) %}

    {% set columns = [] %}
    {% set spreads = [] %}

    {% for window, measures in trees.items() %}
        {% for value, measure in measures %}
            {% set column = value ~ "_" ~ window %}
            {% do columns.append((column, measure)) %}
            {% if measure == "spread" %} {% do spreads.append(column) %} {% endif %}
        {% endfor %}
    {% endfor %}

    {% set values = columns | map("first") | unique | list %}

    {% for window, measures in trees.items() %}
        -- each event on each level: the first node of its time there, and the first one after it
        spans_{{ window }} as (
            select
                {% for value in measures | map("first") | unique %}
                    events.{{ value }} as {{ value }}_{{ window }},
                {% endfor %}
                entering.__row as __first,
                leaving.__row as __end,
                unnest(range(len(bin(leaving.__row - entering.__row)))) as __level
            from events
            {% for side, instant in [
                ("entering", "events.__counts_from"),
                ("leaving", "events.__event_time + " ~ feature_warehouse._interval(window)),
            ] %}
                inner join
                    numbered as {{ side }}
                    on {% for key in feature_warehouse._quoted(join_keys) %}
                        events.{{ key }} = {{ side }}.{{ key }} and
                    {% endfor %} {{ instant }}
                    = {{ side }}.__at
            {% endfor %}
            where events.__counts_from < events.__event_time + {{ feature_warehouse._interval(window) }}
        ),

        edges_{{ window }} as (
            select
                * exclude (__first, __end),
                (__first + (1::bigint << __level) - 1) >> __level as __first,
                __end >> __level as __end
            from spans_{{ window }}
        ),
    {% endfor %}

    -- the nodes of each event: those at the edges that no node of the next level covers
    entries as (
        {% for window in trees %}
            select
                {% for value in values %}
                    {{ value if value.endswith("_" ~ window) else "null" }} as {{ value }},
                {% endfor %}
                __level,
                unnest(
                    [case when __first % 2 = 1 then __first end, case when __end % 2 = 1 then __end - 1 end]
                ) as __node
            from edges_{{ window }}
            where __first < __end
            {% if not loop.last %}
                union all
            {% endif %}
        {% endfor %}
    ),

    nodes as (
        select
            __level,
            __node
            {% for value, measure in columns %}
                ,
                {% if measure == "mean" %} avg(cast({{ value }} as double))
                {% elif measure == "spread" %} var_pop(cast({{ value }} as double)) * count({{ value }})
                {% else %} {{ measure }} ({{ value }})
                {% endif %} as {{ value }}_{{ measure }}
            {% endfor %}
        from entries
        where __node is not null
        group by __level, __node
    ),

    paths as (select __row, unnest(range(__levels)) as __level from numbered),

    tree as (
        select
            paths.__row
            {% for value, measure in columns if measure != "spread" %}
                ,
                {% if measure == "mean" %} sum({{ value }}_count * {{ value }}_mean) / sum({{ value }}_count)
                {% elif measure == "count" %} sum({{ value }}_count)
                {% else %} {{ measure }} ({{ value }}_{{ measure }})
                {% endif %} as {{ value }}_{{ measure }}
            {% endfor %}
        from paths
        inner join nodes on paths.__level = nodes.__level and (paths.__row >> paths.__level) = nodes.__node
        group by paths.__row
    ),

    {% if spreads %}
        -- what is spread within the nodes, and the nodes' means around their common one
        spreads as (
            select
                paths.__row
                {% for value in spreads %}
                    ,
                    sum(
                        nodes.{{ value }}_spread
                        + nodes.{{ value }}_count * pow(nodes.{{ value }}_mean - tree.{{ value }}_mean, 2)
                    ) as {{ value }}_spread
                {% endfor %}
            from paths
            inner join nodes on paths.__level = nodes.__level and (paths.__row >> paths.__level) = nodes.__node
            inner join tree on paths.__row = tree.__row
            group by paths.__row
        ),
    {% endif %}

    points as (
        select numbered.*, tree.* exclude (__row) {% if spreads %}, spreads.* exclude (__row) {% endif %}
        from numbered
        left join tree on numbered.__row = tree.__row
        {% if spreads %} left join spreads on numbered.__row = spreads.__row {% endif %}
    ),

{% endmacro %}
