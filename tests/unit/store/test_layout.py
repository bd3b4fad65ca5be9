"""Slots, places and shares of a Cluster."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from feature_warehouse.errors import StoreError, StoreNotReadyError
from feature_warehouse.store.layout import PLACES, SLOTS, Share, check_shares, own_share, slot_of
from feature_warehouse.store.slots import slots_of

NODES = """\
07c37d 127.0.0.1:7002@17002 slave e7d1ee 0 1426238317239 4 connected
e7d1ee 127.0.0.1:7001@17001 myself,master - 0 1426238316232 2 connected 0-5460 5462 {moving}
67ed2d 127.0.0.1:7000@17000 master - 0 1426238318243 1 connected 5461 5463-16383
"""


@settings(deadline=None)  # the first cast makes pyarrow look for pandas
@given(st.lists(st.text(alphabet="ab{}:|\né", max_size=8), min_size=1, max_size=20))
def test_a_slot_is_what_the_library_computes_for_one_key_and_for_a_column(texts: list[str]) -> None:
    keys = [text.encode() for text in texts]
    wanted = [key_slot(key) for key in keys]
    assert [slot_of(key) for key in keys] == wanted
    assert slots_of(pa.array(keys, pa.large_binary())).tolist() == wanted


def test_there_is_one_place_in_each_64_slots() -> None:
    assert [key_slot(f"shop_dev:#markers:{{{place}}}".encode()) // 64 for place in PLACES] == [*range(SLOTS // 64)]


def test_a_node_says_which_slots_it_has() -> None:
    share = own_share(NODES.format(moving=""))
    assert share == Share(node="e7d1ee", epoch="2", slots=(range(5461), range(5462, 5463)), moving=False)
    for moving in ("[93->-07c37d]", "[5461-<-67ed2d]"):
        assert own_share(NODES.format(moving=moving)) == Share("e7d1ee", "2", share.slots, moving=True)


def share(*slots: range, moving: bool = False) -> Share:
    return Share(node=str(slots), epoch="1", slots=slots, moving=moving)


def test_shares_must_be_whole_settled_and_have_places() -> None:
    low, high = share(range(8_000)), share(range(8_000, SLOTS))
    check_shares([low, high, share()], "here")
    for shares in ([low], [low, high, low], [low, share(range(8_001, SLOTS))]):
        with pytest.raises(StoreNotReadyError, match="have no primary"):
            check_shares(shares, "here")
    with pytest.raises(StoreNotReadyError, match="are on the move"):
        check_shares([low, share(range(8_000, SLOTS), moving=True)], "here")
    with pytest.raises(StoreError, match="has too few slots for a lease") as met:
        check_shares([share(range(1)), share(range(1, SLOTS))], "here")
    assert not isinstance(met.value, StoreNotReadyError)
