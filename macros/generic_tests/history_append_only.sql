{# Fails with the days on which a feature view no longer holds what was recorded of it: rows added, removed or rewritten
   after the day was over. A late fact is a new row with a new availability, so it belongs to a day of its own. #}
{% test history_append_only(model, fingerprints) %}

    {% if execute %}
        {% set macro_name = "history_append_only" %}
        {% set view = feature_warehouse._feature_view(model, macro_name) %}
        {% set recorded = [view.columns.keys() | sort | join(",")] %}

        {# A feature that came later is in the records from then on; the older ones hold for the columns that they name. #}
        {% if load_relation(fingerprints) is not none %}
            {% set recorded = (
                run_query("select distinct column_names from " ~ fingerprints ~ " order by column_names").columns[0].values()
            ) %}
        {% endif %}

        {% for column_names in recorded %}
            {% for column in column_names.split(",") if column not in view.columns %}
                {% do exceptions.raise_compiler_error(
                    macro_name
                    ~ ": "
                    ~ view.id
                    ~ " has lost the column '"
                    ~ column
                    ~ "', which is in its record "
                    ~ fingerprints
                    ~ ". Put it back, or make a new version of the view."
                ) %}
            {% endfor %}
        {% endfor %}

        with

            {% for column_names in recorded %}
                recorded_{{ loop.index }} as (
                    select * from {{ fingerprints }} where column_names = {{ feature_warehouse._text(column_names) }}
                ),

                found_{{ loop.index }} as (
                    {{ feature_warehouse._fingerprints(
                        view,
                        column_names.split(","),
                        "available_on <= (select max(available_on) from recorded_" ~ loop.index ~ ")",
                    ) }}
                ),
            {% endfor %}

            compared as (
                {% for column_names in recorded %}
                    select
                        coalesce(recorded.available_on, found.available_on) as available_on,
                        coalesce(recorded.row_count, 0) as recorded_rows,
                        coalesce(found.row_count, 0) as found_rows,
                        coalesce(recorded.fingerprint, '') <> coalesce(found.fingerprint, '') as is_changed
                    from recorded_{{ loop.index }} as recorded
                    full outer join
                        found_{{ loop.index }} as found on recorded.available_on = found.available_on
                        {{ "union all" if not loop.last }}
                {% endfor %}
            ),

            validation_errors as (
                select distinct
                    available_on,
                    case
                        when found_rows > recorded_rows
                        then 'rows were added'
                        when found_rows < recorded_rows
                        then 'rows are gone'
                        else 'rows were rewritten'
                    end as problem,
                    recorded_rows,
                    found_rows
                from compared
                where is_changed or found_rows <> recorded_rows
            )

        select *
        from validation_errors
    {% endif %}

{% endtest %}
