{# The SQL literal of a number of seconds, in hours where it is whole: interval '168 hours'. #}
{%- macro _interval(seconds) -%} interval '
    {%- if seconds % 3600 == 0 -%}{{ seconds // 3600 }} hours
    {%- elif seconds % 60 == 0 -%}{{ seconds // 60 }} minutes
    {%- else -%}{{ seconds }} seconds
    {%- endif -%}
    ' {%- endmacro -%}
