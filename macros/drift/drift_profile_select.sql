{# The query of drift_profile: `source` as _drift_source gives it, with look, act and minimum_rows of each feature. #}
{% macro _drift_profile_sql(source, reference, period) %}

    {% set event = feature_warehouse._quoted(source.event_timestamp) %}
    {% set known = feature_warehouse._quoted(source.available_at or source.event_timestamp) %}
    {% set period_start = feature_warehouse._period_start(event, period) %}
    {% set closed = feature_warehouse._period_start(feature_warehouse.current_instant(), period) %}
    {% set length = feature_warehouse._interval({"hour": 3600, "day": 86400, "week": 604800}[period]) %}

    with

        features as (
            {% for name, feature in source.features.items() %}
                select
                    {{ feature_warehouse._text(name) }} as feature,
                    cast({{ feature.look }} as double precision) as look,
                    cast({{ feature.act }} as double precision) as act,
                    {{ feature.minimum_rows }} as minimum_rows,
                    {{ feature.is_ordered | lower }} as is_ordered,
                    {{ feature.is_boolean | lower }} as is_boolean {{ "union all" if not loop.last }}
            {% endfor %}
        ),

        reference as (
            select reference.*
            from {{ reference }} as reference
            inner join features on reference.feature = features.feature
        ),

        -- NULL: nothing is there yet, or not by these bins, so every period is new
        recorded as (
            {% if is_incremental() %}
                select max(newest_available_at) as known_until, max(period_end) as closed_until
                from {{ this }}
                where
                    not exists (
                        select feature, reference_id
                        from reference
                        except
                        select feature, reference_id
                        from {{ this }}
                    )
            {% else %}
                select
                    cast(null as timestamp with time zone) as known_until,
                    cast(null as timestamp with time zone) as closed_until
            {% endif %}
        ),

        -- the periods that are over, and of which something is new
        changed as (
            select distinct {{ period_start }} as period_start
            from {{ source.relation }}
            cross join recorded
            where
                {{ feature_warehouse._drift_counts(source) }}
                and {{ event }} < {{ closed }}
                and (known_until is null or {{ known }} >= known_until or {{ event }} >= closed_until)
        ),

        periods as (
            select {{ period_start }} as period_start, max({{ known }}) as newest_available_at
            from {{ source.relation }}
            where
                {{ feature_warehouse._drift_counts(source) }}
                and {{ period_start }} in (select c.period_start from changed as c)
            group by {{ period_start }}
        ),

        sample as materialized(
            {{ feature_warehouse._drift_sample(source, period, period_start ~ " in (select c.period_start from changed as c)") }}
        ),

        {{ feature_warehouse._drift_values(source) }}

        -- one row per feature; of quantiles the bins from 3 on end at upper_1, upper_2, ...
        edges as (
            select
                feature,
                max(kind) as kind,
                min(lower) as lowest,
                {% for place in range(1, 11) %}
                    max(upper) filter (where bin = {{ place + 2 }}) as upper_{{ place }},
                {% endfor %}
                max(bin) filter (where bin_type = 'above') as above,
                max(bin) filter (where bin_type = 'unseen') as unseen
            from reference
            group by feature
        ),

        binned as (
            select
                period_start,
                observations.feature,
                case
                    when number is null and text is null
                    then 0
                    when number = cast('NaN' as double precision)
                    then 1
                    when kind = 'presence'
                    then 1
                    when kind = 'categories'
                    then null
                    when number < lowest
                    then 2
                    {% for place in range(1, 11) %} when number <= upper_{{ place }} then {{ place + 2 }} {% endfor %}
                    else above
                end as bin,
                case
                    when kind = 'categories' then coalesce(text, {{ feature_warehouse._drift_text("number") }})
                end as category,
                unseen,
                count(*) as row_count
            from observations
            inner join edges on observations.feature = edges.feature
            group by 1, 2, 3, 4, 5
        ),

        categories as (select feature, bin, unnest(categories) as category from reference),

        counted as (
            select
                binned.period_start,
                binned.feature,
                coalesce(binned.bin, categories.bin, binned.unseen) as bin,
                sum(binned.row_count) as row_count
            from binned
            left join categories on binned.feature = categories.feature and binned.category = categories.category
            group by 1, 2, 3
        ),

        statistics as (
            select
                period_start,
                feature,
                count(*) as row_count,
                count(*) - count(number) - count(text) as null_count,
                count(distinct number) + count(distinct text) as distinct_count,
                count(*) filter (where text = 'true') as true_count,
                min(text) as first_text,
                max(text) as last_text,
                {% set finite = "filter (where " ~ feature_warehouse._drift_is_finite("number") ~ ")" %}
                min(number) {{ finite }} as smallest,
                max(number) {{ finite }} as largest,
                avg(number) {{ finite }} as mean,
                {{ adapter.dispatch("drift_quantiles", "feature_warehouse")("number") }} {{ finite }} as quantiles
            from observations
            group by period_start, feature
        ),

        paired as (
            select
                statistics.period_start,
                statistics.feature,
                reference.bin,
                reference.reference_id,
                cast(reference.reference_rows as double precision) as reference_rows,
                cast(statistics.row_count as double precision) as period_rows,
                coalesce(counted.row_count, 0) as period_count,
                reference.row_count as reference_count,
                count(*) filter (where coalesce(counted.row_count, 0) + reference.row_count > 0) over (
                    partition by statistics.period_start, statistics.feature
                ) as filled_bins
            from statistics
            inner join reference on statistics.feature = reference.feature
            left join
                counted
                on statistics.period_start = counted.period_start
                and statistics.feature = counted.feature
                and reference.bin = counted.bin
        ),

        shares as (
            select
                *,
                -- a bin without rows counts as this share: the logarithm of 0 is not finite
                case when period_count > 0 then period_count / period_rows else 0.0001 end as period_share,
                case when reference_count > 0 then reference_count / reference_rows else 0.0001 end as reference_share,
                -- half a row more in each bin keeps chance in a bin of few rows from looking like drift
                (period_count + 0.5) / (period_rows + 0.5 * filled_bins) as smoothed_share,
                (reference_count + 0.5) / (reference_rows + 0.5 * filled_bins) as smoothed_reference_share
            from paired
        ),

        compared as (
            select
                period_start,
                feature,
                max(reference_id) as reference_id,
                max(reference_rows) as reference_rows,
                array_agg(cast(period_count as bigint) order by bin) as counts,
                -- in the order of the bins, so that it is the same to the last bit in every run
                sum((period_share - reference_share) * ln(period_share / reference_share) order by bin) as psi,
                sum(
                    (smoothed_share - smoothed_reference_share) * ln(smoothed_share / smoothed_reference_share)
                    order by bin
                ) filter (where period_count + reference_count > 0) as psi_smoothed,
                cast(max(filled_bins) - 1 as double precision) as freedom,
                1 / max(period_rows) + 1 / max(reference_rows) as spread
            from shares
            group by period_start, feature
        ),

        judged as (
            select
                statistics.*,
                features.look,
                features.act,
                features.is_ordered,
                features.is_boolean,
                compared.reference_id,
                compared.reference_rows,
                compared.counts,
                compared.psi,
                compared.psi_smoothed,
                {{ feature_warehouse._drift_noise("compared.freedom", "compared.spread") }} as psi_noise,
                least(statistics.row_count, compared.reference_rows) >= features.minimum_rows as is_enough
            from statistics
            inner join
                compared on statistics.period_start = compared.period_start and statistics.feature = compared.feature
            inner join features on statistics.feature = features.feature
        ),

        final as (
            select
                {{ feature_warehouse._text(source.name) }} as source,
                '{{ source.type }}' as source_type,
                judged.feature,
                '{{ period }}' as period,
                judged.period_start,
                judged.period_start + {{ length }} as period_end,
                row_count,
                null_count,
                cast(null_count as double precision) / row_count as null_share,
                distinct_count,
                coalesce(
                    {{ feature_warehouse._drift_text("smallest") }}, case when is_ordered then first_text end
                ) as minimum,
                coalesce(
                    {{ feature_warehouse._drift_text("largest") }}, case when is_ordered then last_text end
                ) as maximum,
                case
                    when is_boolean
                    then cast(true_count as double precision) / nullif(row_count - null_count, 0)
                    else mean
                end as mean,
                {% for percent in ["05", "25", "50", "75", "95"] %}
                    (quantiles)[{{ loop.index }}] as p{{ percent }},
                {% endfor %}
                counts,
                cast(reference_rows as bigint) as reference_rows,
                case when is_enough then psi end as psi,
                case when is_enough then psi_smoothed end as psi_smoothed,
                case when is_enough then psi_noise end as psi_noise,
                look,
                act,
                case
                    when not is_enough
                    then null
                    when psi < look
                    then 'stable'
                    when psi_smoothed <= psi_noise
                    then null
                    when psi < act
                    then 'look'
                    else 'act'
                end as verdict,
                reference_id,
                periods.newest_available_at
            from judged
            inner join periods on judged.period_start = periods.period_start
        )

    select *
    from final

{% endmacro %}

{% macro duckdb__drift_profile_select(source, reference, period) %}
    {{ return(feature_warehouse._drift_profile_sql(source, reference, period)) }}
{% endmacro %}

{% macro postgres__drift_profile_select(source, reference, period) %}
    {% do feature_warehouse._only_for("postgres", "drift_profile", "drift_profile_select") %}
    {{ return(feature_warehouse._drift_profile_sql(source, reference, period)) }}
{% endmacro %}

{% macro default__drift_profile_select(source, reference, period) %}
    {% do feature_warehouse._no_form("drift_profile", "drift_profile_select") %}
{% endmacro %}

{# The 5th, 25th, 50th, 75th and 95th percentile, as a list. #}
{% macro duckdb__drift_quantiles(number) %} quantile_cont({{ number }}, [0.05, 0.25, 0.5, 0.75, 0.95]) {% endmacro %}

{% macro postgres__drift_quantiles(number) %}
    percentile_cont(array[0.05, 0.25, 0.5, 0.75, 0.95]) within group (order by {{ number }})
{% endmacro %}

{# The PSI that two samples of one distribution exceed once in 1,000 times: PSI is then distributed as (1/n + 1/m) times chi
   squared (Yurdakul and Naranjo, 2020); its quantile by Wilson and Hilferty's approximation (1931). #}
{% macro _drift_noise(freedom, spread) %}
    case
        when {{ freedom }} = 0
        then 0
        else {{ spread }} * {{ freedom }} * pow(1 - 2 / (9 * {{ freedom }}) + 3.0902 * sqrt(2 / (9 * {{ freedom }})), 3)
    end
{% endmacro %}
