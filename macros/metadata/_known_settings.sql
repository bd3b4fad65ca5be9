{# What may stand under config.meta, part by part. syncer/feature_warehouse/project/settings.py has the same, SETTINGS. #}
{% macro _known_settings() %}
    {{ return(
        {
            "feature_view": [
                "entity", "join_keys", "event_timestamp", "available_at", "ttl", "deleted", "sync_delay", "history",
                "tier", "expected_every", "lookback", "settled",
            ],
            "feature_service": ["name", "version", "features", "request", "on_demand"],
            "features": ["view", "features", "keys", "prefix"],
            "on_demand": ["name", "data_type", "expression"],
        }
    ) }}
{% endmacro %}
