"""Feature Warehouse from Python: read features online, make training sets, score in batches.

All public names stand here, and each is loaded when it is first asked for: who only reads features needs redis and
protobuf, and waits for nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_warehouse.client.async_client import AsyncFeatureClient
    from feature_warehouse.client.client import FeatureClient
    from feature_warehouse.client.features import OnlineFeatures
    from feature_warehouse.client.served import ServedLog
    from feature_warehouse.errors import (
        DataError,
        DefinitionError,
        FencedError,
        NamespaceError,
        NotBuiltError,
        ProjectError,
        RefusedError,
        RegistryError,
        RequestError,
        StaleError,
        StaleManifestError,
        StoppedError,
        StoreError,
        StoreNotReadyError,
        StoreRefusedError,
        StoreUnavailableError,
        SyncerError,
        UnsupportedTypeError,
        ValueChangeError,
        WarehouseError,
        WarehouseLockedError,
        WarehouseUnavailableError,
        WebhookError,
    )
    from feature_warehouse.training.batch import BatchFeatures, get_batch_features
    from feature_warehouse.training.changes import FeatureChanges, get_feature_changes
    from feature_warehouse.training.content import content_hash
    from feature_warehouse.training.historical import HistoricalFeatures, get_historical_features
    from feature_warehouse.training.rebuild import Rebuilt, rebuild
    from feature_warehouse.training.row_hash import rows_hash

__version__ = "0.1.0"

__all__ = [
    "AsyncFeatureClient",
    "BatchFeatures",
    "DataError",
    "DefinitionError",
    "FeatureChanges",
    "FeatureClient",
    "FencedError",
    "HistoricalFeatures",
    "NamespaceError",
    "NotBuiltError",
    "OnlineFeatures",
    "ProjectError",
    "Rebuilt",
    "RefusedError",
    "RegistryError",
    "RequestError",
    "ServedLog",
    "StaleError",
    "StaleManifestError",
    "StoppedError",
    "StoreError",
    "StoreNotReadyError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "SyncerError",
    "UnsupportedTypeError",
    "ValueChangeError",
    "WarehouseError",
    "WarehouseLockedError",
    "WarehouseUnavailableError",
    "WebhookError",
    "__version__",
    "content_hash",
    "get_batch_features",
    "get_feature_changes",
    "get_historical_features",
    "rebuild",
    "rows_hash",
]

#: The module of each public name that is not an error.
_HOMES = {
    "AsyncFeatureClient": "client.async_client",
    "BatchFeatures": "training.batch",
    "FeatureChanges": "training.changes",
    "FeatureClient": "client.client",
    "HistoricalFeatures": "training.historical",
    "OnlineFeatures": "client.features",
    "Rebuilt": "training.rebuild",
    "ServedLog": "client.served",
    "content_hash": "training.content",
    "get_batch_features": "training.batch",
    "get_feature_changes": "training.changes",
    "get_historical_features": "training.historical",
    "rebuild": "training.rebuild",
    "rows_hash": "training.row_hash",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
