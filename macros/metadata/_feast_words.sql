{# What people who come from Feast write under config.meta. syncer/feature_warehouse/project/feast.py has the same, SETTINGS. #}
{% macro _feast_words() %}
    {{ return(
        {
            "feature_view": {
                "batch_source": "leave it out: the model is the history itself, and reads its sources by `source()` and `ref()`",
                "created_timestamp_column": "write `available_at`: the column that says since when a row could be read",
                "data_source": "leave it out: the model is the history itself, and reads its sources by `source()` and `ref()`",
                "description": "leave it out: dbt has a place for it in the YAML, beside `config`",
                "entities": "write `entity`, one name, and `join_keys`, its columns: `entity: customer, join_keys: [id]`",
                "event_timestamp_column": "write `event_timestamp`",
                "feature_store": "leave it out: dbt_project.yml and profiles.yml say which project and warehouse it is",
                "features": "list them as the model's `columns`, each with its data_type: what is no key, time or mark is a feature",
                "field_mapping": "leave it out: name the columns in the model's SQL",
                "fields": "list them as the model's `columns`, each with its data_type: what is no key, time or mark is a feature",
                "offline": "leave it out: the table that the model builds is the history for training",
                "online": "leave it out: what the registry has is online, as soon as there is a latest-value view of it",
                "owner": "leave it out: who is asked stands at the exposure of each service, as its `owner`",
                "schema": "list them as the model's `columns`, each with its data_type: what is no key, time or mark is a feature",
                "source": "leave it out: the model is the history itself, and reads its sources by `source()` and `ref()`",
                "sources": "leave it out: the model is the history itself, and reads its sources by `source()` and `ref()`",
                "stream_source": "leave it out: the model is the history itself, and reads its sources by `source()` and `ref()`",
                "tags": "leave it out: dbt has a place for it in the YAML, beside `config`",
                "timestamp_field": "write `event_timestamp`",
                "ttl_days": "write `ttl` with its unit: `ttl: 30 days`",
                "ttl_seconds": "write `ttl` with its unit: `ttl: 90 seconds`",
            },
            "feature_service": {
                "description": "leave it out: dbt has a place for it in the YAML, beside `config`",
                "entities": "leave it out: a service has the join keys of the views that it reads",
                "feature_views": "write `features`: `[{view: orders.v1, features: [amount]}]`",
                "logging_config": "leave it out: a client logs what it serves when it is given a `log`",
                "owner": "write it as the exposure's own `owner`",
                "tags": "leave it out: dbt has a place for it in the YAML, beside `config`",
            },
            "features": {
                "full_feature_names": "write `prefix`: `prefix: orders_`",
                "join_key_map": "write `keys`: `keys: {airport: origin}`",
                "name_alias": "write `prefix`: `prefix: origin_`",
                "with_join_key_map": "write `keys`: `keys: {airport: origin}`",
                "with_name": "write `prefix`: `prefix: origin_`",
            },
            "on_demand": {
                "dtype": "write `data_type`",
                "mode": "leave it out: an on-demand feature is one SQL expression",
                "schema": "write `name` and `data_type`, an item for each feature",
                "sources": "leave it out: the expression reads the service's features and its `request` by their names",
                "udf": "write `expression`, in SQL: training and serving compute the same one",
            },
        }
    ) }}
{% endmacro %}
