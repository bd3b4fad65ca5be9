"""DuckDB's settings, as far as they change values: which of a profile's are part of what its features mean.

Each setting of the DuckDB releases that are supported stands in one of the two lists; a test holds them against what
DuckDB itself lists. One that stands in neither is refused by name: it may change anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feature_warehouse.errors import ProjectError
from feature_warehouse.project.profile import Output

#: Those that may change a value, or which relation a name means.
DECIDING = frozenset(
    """
    active_grammar_extensions allow_parser_override_extension asof_loop_join_threshold binary_as_string calendar
    current_dialect default_collation default_null_order default_order deprecated_using_key_syntax
    dialect_compatibility_mode disable_timestamptz_casts disabled_optimizers enable_geoparquet_conversion
    enable_macro_dependencies error_on_division_by_zero file_search_path ieee_floating_point_ops ignore_unknown_crs
    integer_division json_geometry_format lambda_syntax legacy_disable_null_type old_implicit_casting
    order_by_non_integer_literal pivot_limit preserve_identifier_case preserve_insertion_order
    python_enable_replacements python_scan_all_frames regex_match_operator_semantics
    scalar_subquery_error_on_multiple_rows schema search_path table_function_identifier_conversion timezone
    variant_legacy_encoding
""".split()
)

#: Memory, threads, storage, access, messages: how a query runs, not what it gives.
HARMLESS = frozenset(
    """
    access_mode allocator_background_threads allocator_bulk_deallocation_flush_threshold allocator_flush_threshold
    allow_community_extensions allow_extension_repositories allow_extensions_metadata_mismatch
    allow_persistent_secrets allow_unredacted_secrets allow_unsigned_extensions allowed_configs allowed_directories
    allowed_paths approximate_join_order_threshold arrow_large_buffer_size arrow_lossless_conversion
    arrow_output_list_view arrow_output_version async_threads auto_checkpoint_skip_wal_threshold
    autoinstall_extension_repository autoinstall_known_extensions autoload_known_extensions block_allocator_memory
    cache_local_files catalog_error_max_schemas checkpoint_on_detach checkpoint_threshold
    current_transaction_invalidation_policy custom_extension_repository custom_profiling_settings custom_user_agent
    default_block_size default_secret_storage default_transaction_invalidation_policy delim_join_as_cte
    disable_database_invalidation disable_parquet_prefetching disabled_compression_methods disabled_filesystems
    disabled_log_types duckdb_api dynamic_or_filter_threshold enable_external_access enable_external_file_cache
    enable_fsst_vectors enable_http_logging enable_http_metadata_cache enable_logging enable_object_cache
    enable_optimistic_write enable_optimizer enable_profiling enable_progress_bar enable_progress_bar_print
    enable_view_dependencies enabled_log_types errors_as_json experimental_metadata_reuse explain_output
    extension_directories extension_directory extension_repository_directory
    external_file_cache_local_max_block_size external_file_cache_remote_max_block_size
    external_file_cache_remote_min_block_size external_file_cache_request_sizing external_file_cache_spill
    external_threads force_bitpacking_mode force_column_metadata_reuse force_compression force_mbedtls_unsafe
    force_variant_shredding fsync_mode geometry_minimum_shredding_size home_directory immediate_transaction_mode
    index_scan_max_count index_scan_percentage initial_column_segment_size late_materialization_max_rows
    lock_configuration log_query_path logging_level logging_mode logging_storage max_execution_time
    max_expression_depth max_memory max_streaming_buffer_size max_temp_directory_size max_vacuum_tasks memory_limit
    merge_join_threshold nested_loop_join_threshold operator_memory_limit ordered_aggregate_threshold
    pandas_analyze_sample parquet_metadata_cache parquet_prefetch_column_gap partitioned_write_flush_threshold
    partitioned_write_max_open_files password perfect_ht_threshold pin_threads pivot_filter_threshold
    prefer_range_joins prefetch_all_parquet_files produce_arrow_string_view profile_output profiling_coverage
    profiling_mode profiling_output profiling_renderer_settings progress_bar_time read_ahead_depth redact_http_logs
    scheduler_process_partial secret_directory show_behavior standard_vector_size storage_block_prefetch
    storage_compatibility_version streaming_buffer_size temp_directory temp_file_encryption threads tracked_metrics
    user username validate_external_file_cache variant_minimum_shredding_size wal_autocheckpoint
    wal_autocheckpoint_entries warnings_as_errors worker_threads write_buffer_row_group_count
    write_buffer_row_group_memory_limit zstd_min_string_length
""".split()
)

#: Families of settings that are harmless as a whole: of extensions that read from elsewhere, and for DuckDB's authors.
_HARMLESS_FAMILIES = ("azure_", "ca_cert_", "debug_", "gcs_", "hf_", "http_", "r2_", "s3_", "unsafe_", "ui_")

_OTHER_NAMES = {"null_order": "default_null_order"}


def deciding_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """{name: value as text} of the settings of a profile that may change a value.

    Raises ProjectError for one that is not known.
    """
    found = {}
    for given, value in settings.items():
        name = _OTHER_NAMES.get(given.lower(), given.lower())
        if name in DECIDING:
            found[name] = str(value).lower() if isinstance(value, bool) else str(value)
        elif name not in HARMLESS and not name.startswith(_HARMLESS_FAMILIES):
            raise ProjectError(
                f"the profile makes the setting '{given}', and whether it changes values is not known",
                "take it out of the profile's settings, or upgrade feature-warehouse to a version that knows it",
            )
    return dict(sorted(found.items()))


def settings_of(output: Output) -> dict[str, str] | None:
    """The same of a profile's output; None of any other warehouse than DuckDB: those that were registered stay."""
    return deciding_settings({**output.config, **output.settings}) if output.adapter == "duckdb" else None


def changed_settings(before: Mapping[str, str] | None, now: Mapping[str, str] | None) -> list[str]:
    """What is another one now: 'the setting integer_division: none -> true'; nothing where one side is not known."""
    if before is None or now is None:
        return []
    return [
        f"the setting {name}: {before.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]
