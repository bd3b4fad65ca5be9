"""The slots of a whole column of keys; ``layout.slot_of`` is the same for one."""

from __future__ import annotations

from binascii import crc_hqx
from itertools import repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_warehouse.store.layout import SLOTS


def slots_of(keys: pa.LargeBinaryArray) -> npt.NDArray[np.uint16]:
    """(N,) keys, in UTF-8 -> (N,) slots."""
    if pc.any(pc.match_substring(keys, "{")).as_py():
        keys = pc.replace_substring_regex(keys, r"(?s)^[^{]*\{([^}]+)\}.*$", r"\1")
    # C calls C: no Python code runs per row.
    codes = np.fromiter(map(crc_hqx, keys.to_pylist(), repeat(0)), np.uint16, len(keys))
    return codes % np.uint16(SLOTS)
