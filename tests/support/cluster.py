"""A Cluster of three primaries without replicas, from the server binary that the embedded Redis uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from redis.crc import key_slot

from tests.support.processes import HOST, Processes, client, wait_until

SLOTS = 16_384

#: Without full coverage a Cluster goes on answering for the slots that it has. No test waits until a node is taken for
#: dead, and none may be that was only slow: its Cluster would answer no one for seconds.
NODE = ("cluster-enabled yes", "cluster-node-timeout 60000", "cluster-require-full-coverage no")

#: The first ping of a primary begins the offset of its replicas; until theirs is above 0, Redis 7 names them to nobody.
REPLICATION = ("repl-diskless-sync-delay 0", "repl-ping-replica-period 1")


class Cluster:
    """Slots in equal parts, by port in ascending order of slots."""

    def __init__(self, processes: Processes, free_port: Callable[[], int]) -> None:
        self.processes = processes
        self.ports = [free_port() for _ in range(3)]
        for epoch, port in enumerate(self.ports):
            processes.start(port, *NODE, *REPLICATION)
            node = client(port)
            node.execute_command("CLUSTER", "ADDSLOTS", *range(*self._share(epoch)))
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", epoch + 1)
        for port in self.ports[1:]:
            client(self.ports[0]).execute_command("CLUSTER", "MEET", HOST, port)
        self.wait()
        self.url = f"redis+cluster://{HOST}:{self.ports[0]},{HOST}:{self.ports[1]}"

    def add_replica(self, primary: int, free_port: Callable[[], int]) -> int:
        """The port of a new node that follows ``primary``, and that all others know."""
        port = free_port()
        nodes = [*self.ports, port]
        self.processes.start(port, *NODE, *REPLICATION)
        id_ = client(primary).execute_command("CLUSTER", "MYID").decode()
        client(port).execute_command("CLUSTER", "MEET", HOST, primary)
        wait_until(lambda: any(each.startswith(f"{HOST}:{primary}") for each in client(port).cluster("nodes")))
        wait_until(lambda: bool(client(port).execute_command("CLUSTER", "REPLICATE", id_)))
        wait_until(lambda: client(port).info("replication").get("master_link_status") == "up")
        # One that only its primary knows is alone when that one dies: nobody would hear that it has taken over.
        wait_until(lambda: all(_knows(each, other) for each in nodes for other in nodes))
        wait_until(lambda: all(port in _readers_are_told(each) for each in nodes))
        return port

    def wait(self) -> None:
        """Until every node knows of every slot."""
        wait_until(self._agree)

    def _share(self, number: int) -> tuple[int, int]:
        return SLOTS * number // len(self.ports), SLOTS * (number + 1) // len(self.ports)

    def _agree(self) -> bool:
        facts = [client(port).cluster("info") for port in self.ports]
        wanted = ("ok", str(SLOTS), "3")
        names = ("cluster_state", "cluster_slots_ok", "cluster_known_nodes")
        return all(tuple(each[name] for name in names) == wanted for each in facts)

    def port_of(self, key: str | bytes) -> int:
        """Where the slot of ``key`` was at first."""
        slot = key_slot(key.encode() if isinstance(key, str) else key)
        return next(port for number, port in enumerate(self.ports) if slot < self._share(number)[1])

    @contextmanager
    def moved(self, key: str, target: int, *, finish: bool, after: float = 0.0) -> Iterator[None]:
        """What is in the slot of ``key`` is at ``target`` inside the block, and the slot too if ``finish``.

        ``after``: seconds until it is; the block is entered at once.
        """
        slot, source = key_slot(key.encode()), self.port_of(key)
        self._begin(slot, source, target)
        _migrate(slot, source, target)
        if finish:
            settle = Timer(after, self._settle, [slot, source, target], {"owner": target})
            settle.start()
            if not after:
                settle.join()
        try:
            yield
        finally:
            if finish:
                settle.join()
                self._begin(slot, target, source)
            else:
                client(source).execute_command("CLUSTER", "SETSLOT", slot, "STABLE")
            _migrate(slot, target, source)
            client(target).execute_command("CLUSTER", "SETSLOT", slot, "STABLE")  # settling would leave it importing
            self._settle(slot, source, target, owner=source)

    def _begin(self, slot: int, source: int, target: int) -> None:
        ids = {port: client(port).execute_command("CLUSTER", "MYID") for port in (source, target)}
        client(target).execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        client(source).execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])

    def _settle(self, slot: int, source: int, target: int, *, owner: int) -> None:
        id_ = client(owner).execute_command("CLUSTER", "MYID")
        for port in (target, source):
            client(port).execute_command("CLUSTER", "SETSLOT", slot, "NODE", id_)


def _knows(one: int, other: int) -> bool:
    """Whether the node at port ``one`` is in touch with the one at ``other``, or is it."""
    facts = client(one).cluster("nodes").get(f"{HOST}:{other}")
    return facts is not None and facts["connected"] and "handshake" not in facts["flags"]


def _readers_are_told(port: int) -> set[int]:
    """The ports that the node at ``port`` names to who asks where slots are."""
    parts = client(port).execute_command("CLUSTER", "SLOTS")
    return {server[1] for _, _, *servers in parts for server in servers}


def _migrate(slot: int, source: int, target: int) -> None:
    for each in client(source).execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1_000):
        client(source).execute_command("MIGRATE", HOST, target, each, 0, 5_000)
