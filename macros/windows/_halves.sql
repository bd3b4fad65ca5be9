{# A number as two integers, which add up exactly and in any order: the whole part, and 2^100ths of the rest (a double
   from 2^-48 on loses nothing, a smaller one at most 2^-101). #}
{% macro _halves(value) %}
    {{ return(
        [
            "cast(trunc(" ~ value ~ ") as hugeint)",
            "cast(cast(" ~ value ~ " - trunc(" ~ value ~ ") as double) * pow(2, 100) as hugeint)",
        ]
    ) }}
{% endmacro %}

{# The double of two sums of such halves: rounded once where one integer holds both, else right to the last bit. #}
{% macro _joined_halves(names) %}
    {% set unit = "cast(pow(2, 100) as hugeint)" %}
    case
        when abs({{ names[0] }}) < 33554432 and abs({{ names[1] }}) < cast(pow(2, 125) as hugeint)
        then cast({{ names[0] }} * {{ unit }} + {{ names[1] }} as double) / pow(2, 100)
        else
            cast({{ names[0] }} + divide({{ names[1] }}, {{ unit }}) as double)
            + cast({{ names[1] }} % {{ unit }} as double) / pow(2, 100)
    end
{% endmacro %}
