"""Which primary of a Cluster has which slots, as each says itself, and the places where a run leaves its signs.

A key's slot is the CRC16 of its name, or of what stands between its first braces, modulo 16,384 (Source:
https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/). A *place* is a tag for such braces. The
places are the same for everyone, whatever the slots' owners, and there is one in each 64 slots: so every primary with
some hundred slots has places, and keys at all places are keys on all primaries. Knows no socket.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from feature_warehouse.errors import StoreError, StoreNotReadyError

SLOTS = 16_384
_SLOTS_PER_PLACE = 64

_TAG = re.compile(rb"[^{]*\{([^}]+)\}", re.DOTALL)


def slot_of(key: bytes) -> int:
    """0 to 16,383."""
    tag = _TAG.match(key)
    return crc_hqx(tag[1] if tag else key, 0) % SLOTS


def _places() -> tuple[str, ...]:
    found: dict[int, str] = {}
    for number in count():
        found.setdefault(slot_of(b"%d" % number) // _SLOTS_PER_PLACE, str(number))
        if len(found) == SLOTS // _SLOTS_PER_PLACE:
            return tuple(found[part] for part in sorted(found))
    raise AssertionError


#: 256 tags, by ascending slot.
PLACES = _places()


@dataclass(frozen=True, slots=True)
class Share:
    """What one node says that it has."""

    node: str  # its id
    epoch: str  # of its slots' configuration: grows when slots change hands
    slots: tuple[range, ...]
    moving: bool  # whether a slot is on its way to or from this node


def own_share(nodes: str) -> Share:
    """The share of the node that answered CLUSTER NODES with ``nodes``. Raises ValueError."""
    (line,) = (line for line in nodes.splitlines() if "myself" in line.split()[2])
    id_, _, _, _, _, _, epoch, _, *slots = line.split()
    ranges = [each.partition("-") for each in slots if not each.startswith("[")]
    return Share(
        node=id_,
        epoch=epoch,
        slots=tuple(range(int(first), int(last or first) + 1) for first, _, last in ranges),
        moving=len(ranges) < len(slots),
    )


def check_shares(shares: Sequence[Share], address: str) -> None:
    """Raises StoreNotReadyError unless each slot is one node's and stays there, StoreError for one without a place."""
    owners = Counter(slot for share in shares for each in share.slots for slot in each)
    if wrong := sum(owners[slot] != 1 for slot in range(SLOTS)):
        raise StoreNotReadyError(
            f"{wrong:,} of the {SLOTS:,} slots of the Redis Cluster at {address} have no primary, or two",
            "see which of its nodes are missing: CLUSTER NODES",
        )
    if any(share.moving for share in shares):
        raise StoreNotReadyError(
            f"slots of the Redis Cluster at {address} are on the move",
            "try again when they have arrived; what an aborted move left, `redis-cli --cluster fix` mends",
        )
    for share in shares:
        if share.slots and not any(slot_of(tag.encode()) in each for tag in PLACES for each in share.slots):
            raise StoreError(
                f"the node {share.node} of the Redis Cluster at {address} has too few slots for a lease",
                "give it some hundred, or none: redis-cli --cluster rebalance",
            )
