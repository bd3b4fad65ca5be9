"""Feature Warehouse: the syncer, and the client that reads what it wrote."""

from __future__ import annotations

from syncer.client import AsyncFeatureClient, FeatureClient
from syncer.errors import SyncerError
from syncer.reading import OnlineFeatures
from syncer.served import ServedLog

__version__ = "0.1.0"

__all__ = ["AsyncFeatureClient", "FeatureClient", "OnlineFeatures", "ServedLog", "SyncerError", "__version__"]
