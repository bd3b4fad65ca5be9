{# The SQL of settled_history. `view`: from _feature_view. `standing`: the settled history as it is; none: make it whole.

   Whether a row is overtaken is decided at the instant from which it counts, by what was known then, so time changes nothing
   about it. A row never counts if a newer event counts no later (only a late one can be so), nor if the same event has a
   later revision that counts no later (only an early one). The first are left out. The second stay, with the instant at
   which they were overtaken, since a join that asks what was known before that instant (known_as_of) wants them.

   Being overtaken is transitive, so rows may arrive in any order, and none needs to be kept to judge later ones by: the
   rows that settle out of (settled rows + new rows) are those that settle out of all. Which rows are new no clock says: for
   each UTC day of availability the table holds a count and fingerprints of the view's rows, in rows of their own. Days
   that are others now are read again, and compared row by row. Entities of which a row has gone are settled anew. #}
{% macro duckdb__settled_select(view, standing) %}

    {% set keys = feature_warehouse._quoted(view.join_keys) | join(", ") %}
    {% set event = feature_warehouse._quoted(view.event_timestamp) %}
    {% set known = feature_warehouse._quoted(view.available_at or view.event_timestamp) %}
    {% set others = feature_warehouse._settled_columns(view) %}
    {% set columns = (
        feature_warehouse._quoted(view.join_keys)
        + [event]
        + ([known] if view.available_at else [])
        + feature_warehouse._quoted(others)
    ) | join(", ") %}
    {% set signature = feature_warehouse._settled_signature(view) %}
    {% set prints = feature_warehouse._fingerprints_of(view, others) | join(", ") %}
    {% set stored = "not materialized" if view.stored else "materialized" %}
    {% set working %}
        {{ columns }},
        {{ event }} as __event,
        {{ known }} as __known,
        {{ feature_warehouse._day(known) }} as __bucket,
        {{ feature_warehouse._row_hash(view) }} as __row
    {% endset %}

    with

        history as {{ stored }} (
            select {{ working }}, greatest({{ event }}, {{ known }}) as __since
            from {{ view.relation }}
            where {{ feature_warehouse._usable(view) }}
        ),

        -- of each day, what says whether its rows are still the same
        days as (
            select
                __bucket,
                count(*) as __row_count,
                cast([{{ feature_warehouse._sums(view, others) }}] as hugeint[]) as __fingerprints
            from history
            group by __bucket
        ),

    {% if standing is none %}
            -- early rows that a later revision overtook before they counted
            early_events as materialized(select distinct {{ keys }}, __event from history where __known < __event),

            revisions as materialized(
                select {{ keys }}, __event, __known
                from history
                semi join early_events using ({{ keys }}, __event)
                where __known <= __event
            ),

            revised as materialized(
                select *, lead(__known) over (partition by {{ keys }}, __event order by __known) as __overtaken_at
                from revisions
                qualify __known < __event and __overtaken_at is not null
            ),

            kept as (
                select *
                from history
                left join revised using ({{ keys }}, __event, __known)
                qualify __event >= max(__event) over (partition by {{ keys }} order by __since)
            ),

            final as (
                select {{ columns }}, __since, __overtaken_at
                from kept
                union all by name
                select __bucket, {{ signature }} as __columns, __row_count, __fingerprints
                from days
            )

        select row_number() over () as __id, *
        from final
    {% else %}
            recorded as (
                select __id, __bucket, __row_count, __fingerprints
                from {{ standing }}
                where
                    __row_count is not null
                    and case
                        when __columns = {{ signature }}
                        then true
                        else
                            error(
                                {{ feature_warehouse._text(
                                    "settled_history: the columns of "
                                    ~ view.id
                                    ~ " have changed. Run dbt run --full-refresh --select "
                                    ~ view.settled
                                ) }}
                            )
                    end
            ),

            changed as materialized(
                select recorded.__id, __bucket, days.__row_count, days.__fingerprints
                from days
                full outer join recorded using (__bucket)
                where
                    days.__row_count is distinct from recorded.__row_count
                    or days.__fingerprints is distinct from recorded.__fingerprints
            ),

            -- between which all of them lie, so that the others are not read
            bounds as materialized(
                select
                    case
                        when min(__bucket) > -1e9
                        then make_timestamptz(cast(min(__bucket) * 86400000000 as bigint))
                        else '-infinity'
                    end as __first,
                    case
                        when max(__bucket) < 1e8
                        then make_timestamptz(cast((max(__bucket) + 1) * 86400000000 as bigint))
                        else 'infinity'
                    end as __last
                from changed
            ),

            stood as not materialized(
                select {{ working }}, __id, __since, __overtaken_at from {{ standing }} where __since is not null
            ),

            -- of the days that have changed, the rows of now and of the last run
            rows_now as materialized(
                select *, hash(__row, {{ prints }}) as __print
                from history
                where
                    __bucket in (select __bucket from changed)
                    and __known between (select __first from bounds) and (select __last from bounds)
            ),

            rows_then as materialized(
                select {{ keys }}, __event, __known, hash(__row, {{ prints }}) as __print
                from stood
                where
                    __bucket in (select __bucket from changed)
                    and __known between (select __first from bounds) and (select __last from bounds)
            ),

            -- entities of which a row has gone, or is another one now
            anew as materialized(
                select distinct {{ keys }}
                from rows_then
                anti join rows_now using ({{ keys }}, __event, __known, __print)
            ),

            incoming as (
                select {{ columns }}, __event, __known, __since
                from rows_now
                anti join rows_then using ({{ keys }}, __event, __known, __print)
                anti join anew using ({{ keys }})
                union all
                select {{ columns }}, __event, __known, __since
                from history
                semi join anew using ({{ keys }})
            ),

            survivors as materialized(
                select * from incoming qualify __event >= max(__event) over (partition by {{ keys }} order by __since)
            ),

            staying as not materialized(select * from stood anti join anew using ({{ keys }})),

            late as materialized(select {{ keys }}, __event, __known, __since from survivors where __known > __event),

            overtaken as (
                select {{ feature_warehouse._of("late", view) }}, late.__event, late.__known
                from late
                asof join
                    (
                        select {{ keys }}, __event, __since
                        from staying
                        where __event > (select min(__event) from late) and __since <= (select max(__since) from late)
                    ) as newer
                    on {{ feature_warehouse._joined("late", "newer", view) }}
                    and late.__since >= newer.__since
                where newer.__event > late.__event
            ),

            entering as materialized(select * from survivors anti join overtaken using ({{ keys }}, __event, __known)),

            leaving as (
                select older.__id
                from
                    (
                        select {{ keys }}, __id, __event, __since
                        from staying
                        where
                            __known > __event
                            and __event < (select max(__event) from entering)
                            and __since >= (select min(__since) from entering)
                    ) as older
                asof join
                    entering
                    on {{ feature_warehouse._joined("older", "entering", view) }}
                    and older.__since >= entering.__since
                where entering.__event > older.__event
                union all
                select __id
                from stood
                semi join anew using ({{ keys }})
            ),

            -- what may have got another revision: the events of an early row, if something of them enters
            early_events as materialized(
                select {{ keys }}, __event
                from entering
                where __known < __event
                union
                select {{ keys }}, __event
                from staying
                semi join entering using ({{ keys }}, __event)
                where __known < __event
            ),

            revisions as materialized(
                select __id, {{ keys }}, __event, __known, __overtaken_at as __overtaken_before
                from staying
                semi join early_events using ({{ keys }}, __event)
                where __known <= __event
                union all
                select null as __id, {{ keys }}, __event, __known, null as __overtaken_before
                from entering
                semi join early_events using ({{ keys }}, __event)
                where __known <= __event
            ),

            revised as materialized(
                select *, lead(__known) over (partition by {{ keys }}, __event order by __known) as __overtaken_at
                from revisions
                qualify __known < __event and __overtaken_at is not null
            ),

            written as (
                select {{ columns }}, __since, __overtaken_at
                from entering
                left join (select * from revised where __id is null) as revised using ({{ keys }}, __event, __known)
                union all by name
                select __id, {{ columns }}, stood.__since, revised.__overtaken_at
                from stood
                inner join revised using (__id, {{ keys }})
                where revised.__overtaken_at is distinct from __overtaken_before
                union all by name
                select __id
                from leaving
                union all by name
                select
                    __id,
                    __bucket,
                    case when __row_count is not null then {{ signature }} end as __columns,
                    __row_count,
                    __fingerprints
                from changed
            )

        select
            coalesce(__id, coalesce((select max(__id) from {{ standing }}), 0) + row_number() over ()) as __id,
            * exclude (__id)
        from written
    {% endif %}

{% endmacro %}

{% macro default__settled_select(view, standing) %}
    {% do exceptions.raise_compiler_error(
        "settled_history: it has no form for the adapter "
        ~ adapter.type()
        ~ ", only for duckdb; elsewhere joins do without. Disable the model "
        ~ model.name
        ~ " for this target."
    ) %}
{% endmacro %}
