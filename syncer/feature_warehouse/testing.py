"""For the tests of a service that reads features: clients over rows in memory.

The fixture ``feature_client`` comes with the package (``client/fixture``): pytest finds it by itself.
"""

from feature_warehouse.client.memory import InMemoryAsyncFeatureClient, InMemoryFeatureClient

__all__ = ["InMemoryAsyncFeatureClient", "InMemoryFeatureClient"]
