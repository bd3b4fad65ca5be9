-- one row per airline
with

    airlines as (select * from {{ ref("raw_airlines") }}), final as (select carrier, name as carrier_name from airlines)

select *
from final
