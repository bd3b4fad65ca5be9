{# The query of drift_reference. Ranges end at values of the reference: a range holds what is above the end of the one before,
   up to and including its own. #}
{% macro _drift_reference_sql(source, start, end) %}

    {% set start, end = feature_warehouse._instant(start), feature_warehouse._instant(end) %}
    {% set event = feature_warehouse._quoted(source.event_timestamp) %}
    {% set not_a_number = "cast('NaN' as double precision)" %}
    {% set condition %}
        {{ event }} >= {{ start }}
        and {{ event }} < {{ end }}
        -- nothing is fixed before the period is over
        and {{ end }} <= {{ feature_warehouse.current_instant() }}
    {% endset %}

    with

        features as (
            {% for name, feature in source.features.items() %}
                select
                    {{ feature_warehouse._text(name) }} as feature,
                    {{ feature_warehouse._text(feature.data_type | lower) }} as data_type,
                    {{ feature_warehouse._text(feature.definition) }} as definition,
                    '{{ feature.kind }}' as compared_as {{ "union all" if not loop.last }}
            {% endfor %}
        ),

        sample as materialized({{ feature_warehouse._drift_sample(source, "day", condition) }}),

        totals as (select count(*) as reference_rows from sample),

        {{ feature_warehouse._drift_values(source) }}

        occurrences as (
            select feature, number, text, count(*) as row_count from observations group by feature, number, text
        ),

        finite as (
            select
                feature,
                number,
                row_count,
                sum(row_count) over (partition by feature order by number) as rows_so_far,
                sum(row_count) over (partition by feature) as finite_rows
            from occurrences
            where {{ feature_warehouse._drift_is_finite("number") }}
        ),

        -- a range ends with the value at which the rows so far reach another tenth
        ranged as (
            select
                feature,
                number,
                coalesce(
                    count(*) filter (where 10 * rows_so_far % finite_rows < 10 * row_count) over (
                        partition by feature order by number rows between unbounded preceding and 1 preceding
                    ),
                    0
                ) as place
            from finite
        ),

        kinds as (
            select
                *,
                case
                    when compared_as = 'presence'
                    then 'presence'
                    when
                        compared_as = 'number'
                        and (select count(*) from ranged where ranged.feature = features.feature)
                        > {{ feature_warehouse._drift_categories() }}
                    then 'quantiles'
                    else 'categories'
                end as kind
            from features
        ),

        categories as (
            select
                occurrences.feature,
                coalesce(text, {{ feature_warehouse._drift_text("number") }}) as category,
                number,
                text,
                row_count,
                row_number() over (partition by occurrences.feature order by number, row_count desc, text) as place,
                row_number() over (partition by occurrences.feature order by row_count desc, number, text)
                <= {{ feature_warehouse._drift_categories() }}
                and 100 * row_count >= (select reference_rows from totals) as is_kept
            from occurrences
            inner join kinds on occurrences.feature = kinds.feature
            where kinds.kind = 'categories' and (text is not null or number <> {{ not_a_number }})
        ),

        -- the order of the bins is that of their sections, then of their places
        entries as (
            {% for section, bin_type, condition in [
                (0, "null", "true"),
                (1, "not_a_number", "compared_as = 'number'"),
                (2, "below", "kind = 'quantiles'"),
                (4, "above", "kind = 'quantiles'"),
                (6, "rare", "kind = 'categories'"),
                (7, "unseen", "kind = 'categories'"),
                (8, "value", "kind = 'presence'"),
            ] %}
                select
                    feature,
                    {{ section }} as section,
                    '{{ bin_type }}' as bin_type,
                    0 as place,
                    0 as row_count,
                    cast(null as double precision) as number,
                    cast(null as varchar) as category
                from kinds
                where {{ condition }}
                union all
            {% endfor %}
            select
                feature,
                case when is_kept then 5 else 6 end,
                case when is_kept then 'category' else 'rare' end,
                case when is_kept then place else 0 end,
                row_count,
                null,
                category
            from categories
            union all
            select finite.feature, 3, 'range', place, row_count, number, null
            from finite
            inner join ranged using (feature, number)
            inner join kinds on finite.feature = kinds.feature
            where kinds.kind = 'quantiles'
            union all
            select feature, 0, 'null', 0, row_count, null, null
            from occurrences
            where number is null and text is null
            union all
            select feature, 1, 'not_a_number', 0, row_count, null, null
            from occurrences
            where number = {{ not_a_number }}
            union all
            select
                occurrences.feature,
                case when number < 0 then 2 else 4 end,
                case when number < 0 then 'below' else 'above' end,
                0,
                row_count,
                null,
                null
            from occurrences
            inner join kinds on occurrences.feature = kinds.feature
            where abs(number) = cast('Infinity' as double precision) and kinds.kind = 'quantiles'
            union all
            select occurrences.feature, 8, 'value', 0, row_count, null, null
            from occurrences
            inner join kinds on occurrences.feature = kinds.feature
            where text is not null and kinds.kind = 'presence'
        ),

        grouped as (
            select
                feature,
                section,
                place,
                bin_type,
                sum(row_count) as row_count,
                min(number) as smallest,
                max(number) as upper,
                array_agg(category order by category) filter (where category is not null) as categories
            from entries
            group by feature, section, place, bin_type
        ),

        bins as (
            select
                feature,
                row_number() over (partition by feature order by section, place) - 1 as bin,
                bin_type,
                -- the first range holds its lower end too
                coalesce(lag(upper) over (partition by feature, section order by place), smallest) as lower,
                upper,
                categories,
                row_count
            from grouped
        ),

        final as (
            select
                {{ feature_warehouse._text(source.name) }} as source,
                '{{ source.type }}' as source_type,
                bins.feature,
                kinds.data_type,
                kinds.kind,
                cast(bins.bin as integer) as bin,
                bins.bin_type,
                case
                    bins.bin_type
                    when 'null'
                    then 'NULL'
                    when 'not_a_number'
                    then 'NaN'
                    when 'below'
                    then
                        'below '
                        || {{ feature_warehouse._drift_text("min(bins.lower) over (partition by bins.feature)") }}
                    when 'range'
                    then
                        {{ feature_warehouse._drift_text("bins.lower") }}
                        || ' to '
                        || {{ feature_warehouse._drift_text("bins.upper") }}
                    when 'above'
                    then
                        'above '
                        || {{ feature_warehouse._drift_text("max(bins.upper) over (partition by bins.feature)") }}
                    when 'category'
                    then bins.categories[1]
                    when 'value'
                    then 'not NULL'
                    else bins.bin_type
                end as label,
                bins.lower,
                bins.upper,
                bins.categories,
                cast(bins.row_count as bigint) as row_count,
                totals.reference_rows,
                {{ start }} as reference_start,
                {{ end }} as reference_end,
                kinds.definition,
                md5(
                    kinds.definition || {{ adapter.dispatch("drift_bins_text", "feature_warehouse")() }}
                ) as reference_id
            from bins
            inner join kinds on bins.feature = kinds.feature
            cross join totals
        )

    select *
    from final

{% endmacro %}

{% macro duckdb__drift_reference_select(source, start, end) %}
    {{ return(feature_warehouse._drift_reference_sql(source, start, end)) }}
{% endmacro %}

{% macro postgres__drift_reference_select(source, start, end) %}
    {% do feature_warehouse._only_for("postgres", "drift_reference", "drift_reference_select") %}
    {{ return(feature_warehouse._drift_reference_sql(source, start, end)) }}
{% endmacro %}

{% macro default__drift_reference_select(source, start, end) %}
    {% do feature_warehouse._no_form("drift_reference", "drift_reference_select") %}
{% endmacro %}

{# All bins of a feature as one text, from which the id of its reference is made. #}
{% macro duckdb__drift_bins_text() %}
    cast(
        list(
            {'bin':bin_type, 'lower':lower, 'upper':upper, 'categories':categories, 'rows':row_count} order by bin
        ) over (partition by bins.feature) as varchar
    )
{% endmacro %}

{% macro postgres__drift_bins_text() %}
    cast(
        json_agg(json_build_array(bin_type, lower, upper, categories, row_count)) over (
            partition by bins.feature order by bin rows between unbounded preceding and unbounded following
        ) as text
    )
{% endmacro %}
