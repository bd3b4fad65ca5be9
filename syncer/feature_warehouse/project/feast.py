"""What people who come from Feast write, and what is meant by it here. Words of Feast 0.67, by where they are met."""

from __future__ import annotations

from collections.abc import Mapping

_VIEW_ONLINE = "leave it out: what the registry has is online, as soon as there is a latest-value view of it"
_HISTORY = "leave it out: the model is the history itself, and reads its sources by `source()` and `ref()`"
_COLUMNS = "list them as the model's `columns`, each with its data_type: what is no key, time or mark is a feature"
_DBT_OWN = "leave it out: dbt has a place for it in the YAML, beside `config`"

#: Of ``config.meta``, part by part. The macros have the same words, ``_feast_words``.
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "feature_view": {
        "batch_source": _HISTORY,
        "created_timestamp_column": "write `available_at`: the column that says since when a row could be read",
        "data_source": _HISTORY,
        "description": _DBT_OWN,
        "entities": "write `entity`, one name, and `join_keys`, its columns: `entity: customer, join_keys: [id]`",
        "event_timestamp_column": "write `event_timestamp`",
        "feature_store": "leave it out: dbt_project.yml and profiles.yml say which project and warehouse it is",
        "features": _COLUMNS,
        "field_mapping": "leave it out: name the columns in the model's SQL",
        "fields": _COLUMNS,
        "offline": "leave it out: the table that the model builds is the history for training",
        "online": _VIEW_ONLINE,
        "owner": "leave it out: who is asked stands at the exposure of each service, as its `owner`",
        "schema": _COLUMNS,
        "source": _HISTORY,
        "sources": _HISTORY,
        "stream_source": _HISTORY,
        "tags": _DBT_OWN,
        "timestamp_field": "write `event_timestamp`",
        "ttl_days": "write `ttl` with its unit: `ttl: 30 days`",
        "ttl_seconds": "write `ttl` with its unit: `ttl: 90 seconds`",
    },
    "feature_service": {
        "description": _DBT_OWN,
        "entities": "leave it out: a service has the join keys of the views that it reads",
        "feature_views": "write `features`: `[{view: orders.v1, features: [amount]}]`",
        "logging_config": "leave it out: a client logs what it serves when it is given a `log`",
        "owner": "write it as the exposure's own `owner`",
        "tags": _DBT_OWN,
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

#: Of the command line.
COMMANDS: Mapping[str, str] = {
    "apply": "`syncer register` takes what the project declares into its registry",
    "delete": "a version that the project has no more leaves Redis with the next `syncer sync`",
    "entities": "`syncer report` shows all that is declared; `dbt ls` lists it",
    "feature-services": "`syncer report` shows all that is declared; `dbt ls` lists it",
    "feature-views": "`syncer report` shows all that is declared; `dbt ls` lists it",
    "get-historical-features": "`syncer training-set` does that",
    "get-online-features": "`syncer get` does that",
    "init": "a dbt project is all that is needed: `dbt init`, then a feature view in it",
    "materialize": "`syncer sync` does that: it makes Redis equal to the latest values",
    "materialize-incremental": "`syncer sync` does that: it sends what differs",
    "monitor": "`syncer drift` does that",
    "push": "Redis has what the warehouse has: add the rows there, then `syncer sync`",
    "registry-dump": "the registry is a file: registry/registry.json",
    "teardown": "`syncer drop` does that",
    "ui": "`syncer report` writes a page",
    "validate": "`dbt test` and `syncer drift` do that",
    "write-to-online-store": "Redis has what the warehouse has: add the rows there, then `syncer sync`",
}
