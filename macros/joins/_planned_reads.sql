{# Of each read, what DuckDB's form of the join does beside the plain one, which gives the same rows at any rate:
   `split`: on-time and late rows are joined each by itself, see _history.sql;
   `few`: the spine has few of the entities, so the others are not read; `brief`: it asks about a small part of the time.
   `asked`: the spine's relation and its time column, for these two.

   What pays hangs on the data, and what does not pay can cost twice the join, so it is counted, where dbt is about to run the
   model. Nothing is counted for what is compared by its SQL (feature views and what is above them), for a subquery, or for a
   view that would have to be computed for it: these get the plain form. The variable feature_warehouse_join says another
   rule: `plain`, or `split` for every view whose rows may be late. #}
{% macro _planned_reads(reads, spine, spine_timestamp) %}

    {% set form = var("feature_warehouse_join", "counted") %}
    {% set plain = {"split": false, "few": false, "brief": false} %}
    {% set planned = [] %}

    {% if form not in ["counted", "plain", "split"] %}
        {% do exceptions.raise_compiler_error(
            "point_in_time_join: the variable feature_warehouse_join is '"
            ~ form
            ~ "'. Write counted (as without it), plain or split."
        ) %}
    {% endif %}

    {% set counts = form == "counted" and feature_warehouse._may_count(spine) %}

    {% for read in reads %}
        {% if read.get("settled") %} {% set plan = plain %}
        {% elif form == "split" %} {% set plan = dict(plain, split=read.view.available_at is not none) %}
        {% elif counts and read.view.stored and feature_warehouse._is_table(read.view.relation) %}
            {% set plan = feature_warehouse._counted(read, spine, spine_timestamp) %}
        {% else %} {% set plan = plain %}
        {% endif %}

        {% do planned.append(dict(dict(plan, asked={"spine": spine, "timestamp": spine_timestamp}), **read)) %}
    {% endfor %}

    {{ return(planned) }}

{% endmacro %}

{% macro _may_count(spine) %}
    {{ return(
        flags.WHICH in ["run", "build", "retry"]
        and spine is not string
        and feature_warehouse._is_table(spine)
        and model.unique_id not in feature_warehouse._recorded_nodes()
    ) }}
{% endmacro %}

{# Whether it stands in the database as a table: of a unit test's rows, and of what is not built yet, nothing does. #}
{% macro _is_table(relation) %}
    {% if relation.is_cte or not relation.schema %} {{ return(false) }} {% endif %}
    {% set standing = load_relation(relation) %}

    {{ return(standing is not none and standing.is_table) }}
{% endmacro %}

{# The split pays from about three rows a label on, unless hardly any row is late; a semi join where it leaves out at least
   half of the entities; a range of time, which is compared row by row, from a third on. Where an end of the time is
   infinite, it is NULL here. #}
{% macro _counted(read, spine, spine_timestamp) %}

    {% set view = read.view %}
    {% set event = feature_warehouse._quoted(view.event_timestamp) %}
    {% set known = feature_warehouse._quoted(view.available_at or view.event_timestamp) %}
    {% set asked = feature_warehouse._quoted(spine_timestamp) %}

    {% set counting %}
        with

            asked as (
                select
                    count(*) as label_count,
                    approx_count_distinct(
                        hash({{ feature_warehouse._quoted(read["keys"].values()) | join(", ") }})
                    ) as entity_count,
                    max({{ asked }}) - min({{ asked }}) as span
                from {{ spine }}
                where isfinite({{ asked }})
            ),

            history as (
                select
                    count(*) as row_count,
                    count(*) filter (where {{ known }} > {{ event }}) as late_count,
                    approx_count_distinct(
                        hash({{ feature_warehouse._quoted(read["keys"].keys()) | join(", ") }})
                    ) as entity_count,
                    max({{ event }}) - min({{ event }}) as span
                from {{ view.relation }}
                where isfinite({{ event }})
            )

        select
            cast(late_count > 0 and row_count >= 3 * label_count and 100 * late_count >= row_count as integer) as split,
            cast(row_count > 0 and 2 * asked.entity_count <= history.entity_count as integer) as few,
            cast(
                {% if view.ttl_seconds is none %} false
                {% else %}
                    coalesce(
                        3 * (asked.span + {{ feature_warehouse._interval(view.ttl_seconds) }}) <= history.span, false
                    )
                {% endif %} as integer
            ) as brief
        from asked
        cross join history
    {% endset %}

    {% set found = run_query(counting).rows[0] %}

    {{ return({"split": found[0] == 1 and view.available_at is not none, "few": found[1] == 1, "brief": found[2] == 1}) }}

{% endmacro %}
