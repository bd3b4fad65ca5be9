"""What DuckDB's functions do to a value, as far as the registration gate must know; names only, no SQL.

A function that stands in none of these lists is taken for one that may give another value each time: it is compared as
it is written and where it is written, never moved or merged.
"""

from __future__ import annotations

#: Two names of one function, from ``alias_of`` of DuckDB's own list (duckdb_functions(), 2.0); ``ifnull`` is a
#: coalesce to its parser. ``arbitrary`` is ``first``, which may be NULL; ``any_value`` never picks a NULL.
ALIASES: dict[str, str] = {
    "arbitrary": "first", "argmax": "arg_max", "argmin": "arg_min", "array_agg": "list", "ceiling": "ceil",
    "char_length": "length", "character_length": "length", "countif": "count_if", "ends_with": "suffix",
    "fsum": "kahan_sum", "gen_random_uuid": "uuid", "group_concat": "string_agg", "ifnull": "coalesce",
    "lcase": "lower", "len": "length", "list_apply": "list_transform", "list_cat": "list_concat",
    "listagg": "string_agg", "array_transform": "list_transform", "array_filter": "list_filter",
    "array_contains": "list_contains", "list_has": "list_contains", "array_distinct": "list_distinct",
    "array_sort": "list_sort", "max_by": "arg_max", "mean": "avg", "min_by": "arg_min", "pow": "power",
    "quantile": "quantile_disc", "rank_dense": "dense_rank", "str_split": "string_split",
    "string_to_array": "string_split", "split": "string_split", "stddev": "stddev_samp", "strpos": "instr",
    "substr": "substring", "sumkahan": "kahan_sum", "ucase": "upper", "variance": "var_samp",
    "datepart": "date_part", "datetrunc": "date_trunc", "datediff": "date_diff", "datesub": "date_sub",
}  # fmt: skip

#: One row's value from that row's values, always the same.
PURE = frozenset(
    """
    abs acos acosh age array_cosine_distance array_cosine_similarity array_cross_product array_distance
    array_dot_product array_extract array_inner_product array_length array_negative_dot_product
    array_negative_inner_product array_slice array_value ascii asin asinh atan atan2 atanh bar base64 bin bit_count
    bit_length cardinality cbrt ceil century chr coalesce concat concat_ws contains cos cosh cot damerau_levenshtein
    date_add date_diff date_part date_sub date_trunc day dayname dayofmonth dayofweek dayofyear days_in_month decade
    degrees divide element_at ends_with epoch epoch_ms epoch_ns epoch_us era even exp factorial fdiv flatten floor fmod
    format from_base64 from_hex from_json gamma gcd generate_series getvariable greatest greatest_common_divisor hamming
    hash hex hour if instr isfinite isinf isnan isodow isoyear jaccard jaro_similarity jaro_winkler_similarity
    json_array_length json_contains json_exists json_extract json_extract_path json_extract_path_text
    json_extract_string json_keys json_type json_valid json_value julian last_day lcm least least_common_multiple left
    length levenshtein lgamma list_aggregate list_any_value list_append list_avg list_concat list_contains
    list_cosine_distance list_cosine_similarity list_count list_distance list_distinct list_dot_product list_element
    list_extract list_filter list_first list_has_all list_has_any list_indexof list_inner_product list_last list_max
    list_median list_min list_negative_dot_product list_negative_inner_product list_position list_prepend list_reduce
    list_resize list_reverse list_reverse_sort list_slice list_sort list_string_agg list_sum list_transform list_unique
    list_value list_where list_zip ln log log10 log2 lower lpad ltrim make_date make_time make_timestamp
    make_timestamptz map map_concat map_contains map_entries map_extract map_from_entries map_keys map_values md5
    microsecond millennium millisecond minute mod month monthname nanosecond nullif octet_length ord parse_dirname
    parse_filename pi position power prefix printf quarter radians range regexp_escape regexp_extract regexp_extract_all
    regexp_full_match regexp_matches regexp_replace repeat replace reverse right round round_even row rpad rtrim second
    sha1 sha256 sign signbit sin sinh split_part sqrt starts_with strftime string_split string_split_regex strip_accents
    strlen strpos strptime struct_concat struct_extract struct_insert struct_pack substring suffix tan tanh time_bucket
    timezone timezone_hour timezone_minute to_base64 to_centuries to_days to_decades to_hours to_json to_microseconds
    to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years translate
    trim trunc try try_strptime typeof unhex unicode upper url_decode url_encode week weekday weekofyear xor year
    yearweek
    """.split()
)

#: NULL as soon as one argument is. A test asks DuckDB for each of their forms.
STRICT = frozenset(
    """
    abs ascii ceil chr date_diff date_part date_sub date_trunc day dayname dayofmonth dayofweek dayofyear epoch epoch_ms
    epoch_us exp floor hour instr isfinite isinf isnan isodow last_day left length ln log10 log2 lower lpad ltrim md5
    minute mod month monthname power prefix quarter regexp_matches regexp_replace replace reverse right round rpad rtrim
    second sha256 sign sqrt starts_with strftime strip_accents substring suffix to_days to_hours to_minutes
    to_months to_seconds to_timestamp to_weeks to_years trim trunc upper week weekday year
    """.split()
)

#: The time at which the query runs.
CURRENT_TIME = frozenset(
    """
    ago current_date current_localtime current_localtimestamp current_time current_timestamp get_current_time
    get_current_timestamp localtime localtimestamp now today transaction_timestamp
    """.split()
)

#: Another value at each call.
RANDOM = frozenset("random uuid uuidv4 uuidv7 nextval setseed".split())

#: A value that somebody has set in the session.
SESSION = frozenset(["getvariable"])

#: Aggregates that give the same value for any order of their rows; of a sum of floats, up to the last bits.
UNORDERED_AGGREGATES = frozenset(
    """
    approx_count_distinct approx_quantile avg bit_and bit_or bit_xor bool_and bool_or corr count count_if covar_pop
    covar_samp entropy favg geomean geometric_mean histogram kahan_sum kurtosis kurtosis_pop mad max median min product
    quantile_cont quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy
    regr_syy sem skewness stddev_pop stddev_samp sum var_pop var_samp weighted_avg wavg
    """.split()
)

#: Aggregates that take the rows as they come, unless they are told an order.
ORDERED_AGGREGATES = frozenset("any_value first last list string_agg json_group_array json_group_object".split())

#: Aggregates of the row with the greatest or smallest of something: of several such rows, any.
PICKING_AGGREGATES = frozenset("arg_max arg_max_null arg_min arg_min_null mode approx_top_k".split())

AGGREGATES = UNORDERED_AGGREGATES | ORDERED_AGGREGATES | PICKING_AGGREGATES

#: Aggregates that pass over a NULL as if its row were not there.
NULL_SKIPPING = frozenset(
    """
    avg bit_and bit_or bit_xor bool_and bool_or count kahan_sum max median min product stddev_pop stddev_samp sum
    var_pop var_samp
    """.split()
)

#: Functions of a row's place among others; they need OVER.
WINDOWS = frozenset(
    """
    cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank row_number
    """.split()
)

#: Windows whose value ties in the window's order leave open.
TIE_SENSITIVE = WINDOWS - {"cume_dist", "dense_rank", "percent_rank", "rank"}

#: Results of these types whatever the arguments.
RESULT_TYPES: dict[str, str] = {
    "count": "bigint", "row_number": "bigint", "rank": "bigint", "dense_rank": "bigint",
    "ntile": "bigint", "length": "bigint", "hour": "bigint", "year": "bigint", "month": "bigint", "day": "bigint",
    "lower": "varchar", "upper": "varchar", "trim": "varchar", "md5": "varchar",
    "make_date": "date", "make_timestamp": "timestamp", "make_timestamptz": "timestamptz",
    "to_timestamp": "timestamptz", "strftime": "varchar", "starts_with": "boolean", "contains": "boolean",
    "regexp_matches": "boolean", "isnan": "boolean", "date_diff": "bigint", "epoch": "double",
    "bool_and": "boolean", "bool_or": "boolean", "percent_rank": "double", "cume_dist": "double",
    "to_days": "interval", "to_hours": "interval", "to_minutes": "interval", "to_seconds": "interval",
    "to_months": "interval", "to_weeks": "interval", "to_years": "interval", "string_agg": "varchar",
}  # fmt: skip

#: Results of the type of the first argument.
SAME_TYPE = frozenset("any_value arg_max arg_min first first_value lag last last_value lead max min".split())
