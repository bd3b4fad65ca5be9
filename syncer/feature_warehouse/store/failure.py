"""What goes wrong with Redis, as errors of ours with a hint.

Knows the exceptions of the Redis client and the words of Redis's error replies. A URL may hold a password: errors name
host, port and database only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.sentinel import MasterNotFoundError

from feature_warehouse.errors import StoreError, StoreNotReadyError, StoreRefusedError, StoreUnavailableError, shown
from feature_warehouse.store.connect import PrimaryAwayError, advice, causes, tls_trouble

#: What the library raises where it is answered by something else than what it takes all replies for.
_NO_REPLY = (ValueError, TypeError, LookupError, AttributeError, MemoryError, RecursionError)

#: All that the library and the socket raise.
FAILURES = (redis.RedisError, redis.exceptions.RedisClusterException, OSError, *_NO_REPLY)

#: What the library makes of an error reply, but for those that say "not now".
_ANSWERS = (redis.AuthenticationError, redis.ResponseError)


@contextmanager
def translated(address: str, key: str | None = None, *, in_cluster: bool = False) -> Iterator[None]:
    """Errors of the Redis client and of the socket as ours; ``key``: what the command is about.

    ``in_cluster``: other nodes have answered, so this one will, or its slots will go to another.
    """
    try:
        yield
    except redis.exceptions.ClusterDownError as error:
        raise StoreNotReadyError(
            f"the Redis Cluster at {address} is down: {error}", "see which of its nodes are missing: CLUSTER NODES"
        ) from error
    except redis.exceptions.AskError as error:  # MOVED too
        raise (moving(address, str(error)) if in_cluster else _one_node(address)) from error
    except _ANSWERS as error:
        if in_cluster and ELSEWHERE in str(error):
            raise moving(address, str(error)) from error
        raise refused(words_of(error), address, key) from error
    except redis.BusyLoadingError as error:
        raise StoreNotReadyError(f"Redis at {address} is still loading its data", "try again in a moment") from error
    except (redis.TimeoutError, TimeoutError) as error:
        raise StoreUnavailableError(f"Redis at {address} did not answer in time", advice(error)) from error
    except PrimaryAwayError as error:
        raise StoreNotReadyError(
            f"the primary of {address} does not answer: {error}", "its Sentinels name another in a moment: try again"
        ) from error
    except MasterNotFoundError as error:
        raise StoreUnavailableError(
            f"no Sentinel of {address} answers and knows a primary that is up",
            "are the Sentinels there, their password given as ?sentinel_password=..., and is the service called so?",
        ) from error
    except (redis.ConnectionError, redis.exceptions.RedisClusterException, OSError) as error:
        if trouble := tls_trouble(error):
            raise StoreRefusedError(f"no TLS with Redis at {address}: {trouble[0]}", trouble[1]) from error
        if answer := next((each for each in causes(error) if isinstance(each, _ANSWERS)), None):
            if "cluster support disabled" not in str(answer):  # rights, password: the library calls it no Cluster
                raise refused(words_of(answer), address) from error
            raise StoreRefusedError(f"the Redis at {address} is no Cluster", "write redis://host:port/0") from error
        kind = StoreNotReadyError if in_cluster else StoreUnavailableError
        raise kind(f"there is no Redis at {address}: {error}", advice(error)) from error
    except redis.RedisError as error:
        raise StoreError(f"Redis at {address}: {error}") from error
    except _NO_REPLY as error:
        raise StoreError(
            f"what Redis at {address} answers is no reply{f' about {key}' if key else ''}: {shown(error)}",
            "is it a Redis, and nothing between it and here that answers in its place?",
        ) from error


def words_of(error: Exception) -> str:
    """What Redis said. The library takes the code away, and the words after it differ from version to version."""
    return f"NOPERM {error}" if isinstance(error, redis.exceptions.NoPermissionError) else str(error)


#: What Redis's error replies begin with, and what to do about them.
_HINTS = {
    "NOAUTH": "give the password in the URL: redis://:password@host:port/0",
    "WRONGPASS": "check user and password in the URL",
    "AUTH": "check user and password in the URL",
    "invalid username-password": "check user and password in the URL",
    "Authentication required": "give the password in the URL: redis://:password@host:port/0",
    "NOPERM": "the user needs more rights: docs/wire-format.md lists the commands",
    "OOM": "raise maxmemory, or serve fewer features",
    "command not allowed when used memory": "raise maxmemory, or serve fewer features",
    "READONLY": "this is a replica: give the URL of the primary",
    "You can't write against a read only": "this is a replica: give the URL of the primary",
    "WRONGTYPE": "something else wrote that key: remove it, or choose another --namespace",
    "DB index is out of range": "that database does not exist: redis://host:port/0 always does",
    "MISCONF": "Redis cannot save to its disk: see its log",
}


def refused(words: str, address: str, key: str | bytes | None = None) -> StoreError:
    """An error reply as an error; ``key``: what the command was about."""
    words = words.removeprefix("EXECABORT ").removeprefix("Transaction discarded because of: ")
    if "user executing the script" in words or "ACL failure in script" in words:  # before Redis 7, and since
        words = f"NOPERM {words}"
    if words.startswith(("MOVED ", "ASK ")):
        return _one_node(address)
    if words.startswith("LOADING"):
        return StoreNotReadyError(f"Redis at {address} is still loading its data", "try again in a moment")
    if words.startswith(("NOAUTH", "WRONGPASS", "AUTH", "invalid username", "Authentication required")):
        key = None  # who we are was refused, not what we asked for
    hint = next((hint for start, hint in _HINTS.items() if words.startswith(start)), "see the Redis documentation")
    name = key.decode(errors="replace") if isinstance(key, bytes) else key
    return StoreRefusedError(f"Redis at {address} refused{f' the key {name}' if name else ''}: {words}", hint)


#: What a node of a Cluster says of a key in a script that it does not have, or no longer.
ELSEWHERE = "non local key"


def moving(address: str, words: str) -> StoreNotReadyError:
    return StoreNotReadyError(
        f"the slots of the Redis Cluster are changing hands ({address}: {words})", "try again later"
    )


def _one_node(address: str) -> StoreRefusedError:
    return StoreRefusedError(
        f"Redis at {address} is one node of a Cluster, and what is asked for is on another",
        "give the URL of a Cluster: redis+cluster://host:port,host:port",
    )
