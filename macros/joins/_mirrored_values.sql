{# For `syncer audit`: the features of a service as a mirror of each view had them. `spine` has the keys, `served_id`,
   `served_at`, and for the i-th view of the service, from 0, `__as_of_<i>`: the instant that was mirrored. Beside the features
   comes `__event_<i>`, when that view's row became true. A value is old by its ttl at `served_at`. #}
{% macro _mirrored_values(spine, spine_columns, feature_views, service) %}

    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set reads = feature_warehouse._feature_reads(feature_views, service, "audit") %}
    {% set on_demand = feature_warehouse._on_demand(service, "audit", spine_columns) %}

    with

        {% for read in reads %}
            {% set view = dict(read.view, sync_delay_seconds=none) %}
            {% set columns = dict(read["columns"]) %}
            {% do columns.update({view.event_timestamp: "__event_" ~ loop.index0}) %}

            mirror_{{ loop.index0 }} as (
                {{ adapter.dispatch("point_in_time_select", "feature_warehouse")(
                    spine=spine,
                    spine_columns=spine_columns,
                    spine_timestamp="__as_of_" ~ loop.index0,
                    reads=[dict(read, view=view, columns=columns)],
                    on_demand=none,
                    allow_equal=true,
                    known_as_of=none,
                ) }}
            ),
        {% endfor %}

        final as (
            select
                spine.*
                {%- for read in reads %}
                    {% set i = loop.index0 %}
                    {% set mirror = "mirror_" ~ i %}
                    {% set event = mirror ~ ".__event_" ~ i %},
                    {{ event }}
                    {%- for output in read["columns"].values() %}
                        {% if read.view.ttl_seconds is none %}, {{ mirror }}.{{ feature_warehouse._quoted(output) }}
                        {% else %}
                            ,
                            case
                                when
                                    {{ event }}
                                    >= spine.served_at - {{ feature_warehouse._interval(read.view.ttl_seconds) }}
                                then {{ mirror }}.{{ feature_warehouse._quoted(output) }}
                            end as {{ feature_warehouse._quoted(output) }}
                        {% endif %}
                    {%- endfor %}
                {%- endfor %}
            from {{ spine }} as spine
            {% for read in reads %} inner join mirror_{{ loop.index0 }} using (served_id) {% endfor %}
        )

        {% if on_demand %} {{ feature_warehouse._select_on_demand(on_demand) }}
    {% else %} select * from final
    {% endif %}

{% endmacro %}
