"""How long a Redis is waited for."""

from __future__ import annotations

#: Seconds without any progress on a connection before it counts as dead.
TIMEOUT_SECONDS = 10.0
