{# The record of what a feature view held: one row per UTC day of availability that is over. Rows are added for days that have
   ended since the last run; what is recorded is never written again, not by a full refresh either, since the record is
   what proves that history is not rewritten. The test history_append_only compares. #}
{% macro history_fingerprints(relation, closed_after="1 hour") %}

    {{ config(materialized="incremental", incremental_strategy="append", full_refresh=false) }}

    {% if not execute %} {{ return("select 1") }} {% endif %}

    {% set macro_name = "history_fingerprints" %}
    {% set view = feature_warehouse._feature_view(relation, macro_name) %}
    {% set seconds = feature_warehouse._seconds(closed_after, macro_name ~ ": closed_after") %}
    {% set now = feature_warehouse.current_instant() %}
    {% set columns = view.columns.keys() | sort | list %}

    {% for column in columns if "," in column %}
        {% do exceptions.raise_compiler_error(
            macro_name ~ ": " ~ view.id ~ " has the column '" ~ column ~ "', and the record lists columns by commas. Rename it."
        ) %}
    {% endfor %}

    {% set column_names = feature_warehouse._text(columns | join(",")) %}

    {% if not is_incremental() and flags.WHICH in ["run", "build"] %}
        {% do log(
            macro_name ~ ": first record of " ~ view.id ~ "; what changes in it from now on will be found, nothing before",
            info=true,
        ) %}
    {% endif %}

    with

        last_closed as (
            select
                {{ feature_warehouse._utc_date("(" ~ now ~ " - " ~ feature_warehouse._interval(seconds) ~ ")") }}
                - 1 as available_on
        ),

        recorded as (
            {% if is_incremental() %}
                select max(available_on) as until from {{ this }} where column_names = {{ column_names }}
            {% else %}select cast(null as date) as until
            {% endif %}
        ),

        days as (
            {{ feature_warehouse._fingerprints(
                view,
                columns,
                "available_on <= (select available_on from last_closed)"
                ~ " and ((select until from recorded) is null or available_on > (select until from recorded))",
            ) }}
        ),

        final as (
            select
                -- the last day that is over has a row even if nothing became available: it says how far the record goes
                coalesce(days.available_on, last_closed.available_on) as available_on,
                {{ column_names }} as column_names,
                coalesce(days.row_count, 0) as row_count,
                coalesce(days.fingerprint, '') as fingerprint,
                {{ now }} as recorded_at
            from days
            full outer join last_closed on days.available_on = last_closed.available_on
        )

    select *
    from final
    where (select until from recorded) is null or available_on > (select until from recorded)

{% endmacro %}
