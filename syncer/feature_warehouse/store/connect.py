"""Where Redis is: a URL becomes connections. Connects to nothing itself.

    redis://, rediss://, unix://           one server
    redis+sentinel://, rediss+sentinel://  the primary of a service, as the Sentinels say at each new connection
    redis+cluster://, rediss+cluster://    a Cluster

``rediss`` is TLS. docs/guides/redis.md has the forms and settings. A URL may hold a password: what is said of it names
hosts, service and database only.
"""

from __future__ import annotations

import importlib
import math
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import redis
import redis.asyncio as asynchronous
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster
from redis.connection import Connection, SSLConnection, parse_url
from redis.credentials import CredentialProvider
from redis.retry import Retry
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from feature_warehouse.errors import StoreError

Kind = Literal["server", "sentinel", "cluster"]

_SENTINEL_PORT = 26379

#: Settings of a URL for the Sentinels themselves, and what they are called there.
_SENTINEL_LOGIN = {"sentinel_username": "username", "sentinel_password": "password"}

#: Settings of a URL that name files.
_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL points to.

    ``connect`` and ``connect_async`` make a client of the library. A Cluster's is asked where its slots are: by
    ``connect`` itself, and by the asynchronous client when it is first used.
    """

    kind: Kind
    address: str  # for people; without user and password
    connect: Callable[[], Any]
    connect_async: Callable[[], Any]


class PrimaryAwayError(redis.ConnectionError):
    """The Sentinels know the service, and its primary does not answer: there will be another one."""


class _Sentinels(Sentinel):
    """The Sentinels of one service; ``known`` once one of them has named it."""

    known = False

    def check_master_state(self, state: dict[str, Any], service_name: str) -> bool:
        self.known = True
        found: bool = super().check_master_state(state, service_name)  # type: ignore[no-untyped-call]
        return found

    def discover_master(self, service_name: str) -> Any:
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            if self.known:
                raise PrimaryAwayError("it is down, as its Sentinels see it") from error
            raise


class _ToPrimary:
    """A connection to the primary that the Sentinels name, which may be the one that has just died."""

    def connect_to(self, address: tuple[str, int]) -> None:
        try:
            super().connect_to(address)  # type: ignore[misc]
        except (redis.ConnectionError, redis.TimeoutError) as error:
            # Their subclasses, such as a wrong password, are answers.
            if type(error) in (redis.ConnectionError, redis.TimeoutError) and not tls_trouble(error):
                raise PrimaryAwayError(str(error)) from error
            raise


class _Plain(_ToPrimary, SentinelManagedConnection):
    pass


class _Tls(_ToPrimary, SentinelManagedSSLConnection):
    pass


def locate(url: str, timeout: float, *, replicas: bool = False) -> Place:
    """What ``url`` means. ``timeout``: seconds without progress. ``replicas``: of a Sentinel service or Cluster.

    Raises ValueError for a timeout that is none, StoreError for a URL that cannot be used, and for replicas of a plain
    server, which nobody knows.
    """
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout={timeout!r}: give how many seconds a silent Redis is waited for, above 0")
    common = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "protocol": 2,
        "client_name": "feature_warehouse",
        "max_connections": 1 << 31,  # the library refuses the 101st; how many there are is for the caller to say
    }
    try:
        url, provider = _credentials(url.strip())
        if provider is not None:
            common["credential_provider"] = provider
        parts = urlsplit(url)
        scheme, _, kind = parts.scheme.partition("+")
        if kind == "sentinel":
            return _sentinel(scheme, parts, common, replicas)
        if kind == "cluster":
            return _cluster(scheme, parts, common, replicas)
        found = _server(url, parts, common)
    except (ValueError, TypeError, redis.RedisError):
        # The library's words may quote the URL, and that may hold a password.
        raise StoreError(
            "the Redis URL cannot be read",
            "write redis://host:port/0, rediss:// for TLS, unix:///path, redis+sentinel://host:port,host:port/service/0"
            " or redis+cluster://host:port,host:port",
        ) from None
    if replicas:
        raise StoreError(
            f"nothing tells of the replicas of {found.address}",
            "give the URL of a Sentinel service or of a Cluster; a replica's own URL is read from as it is",
        )
    return found


def _credentials(url: str) -> tuple[str, CredentialProvider | None]:
    """The URL without its setting ``credential_provider``, and what that names: who logs in, asked at each connection.

    The setting names a CredentialProvider of the library, or what makes one: 'company_tokens:provider'.
    """
    parts = urlsplit(url)
    settings = parse_qsl(parts.query, keep_blank_values=True)
    named = [value for name, value in settings if name == "credential_provider"]
    if not named:
        return url, None
    module, _, attribute = named[-1].partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
        provider = found if isinstance(found, CredentialProvider) else found()
    except Exception as error:  # whatever somebody else's module may raise
        raise StoreError(
            f"the credential provider '{named[-1]}' of the Redis URL cannot be had: {type(error).__name__}: {error}",
            "name what can be imported: ?credential_provider=module:object, a redis.CredentialProvider or its class",
        ) from error
    if not isinstance(provider, CredentialProvider):
        raise StoreError(
            f"'{named[-1]}' of the Redis URL is no credential provider but a {type(provider).__name__}",
            "give an object of redis.CredentialProvider, or a class or function that makes one",
        )
    if "@" in parts.netloc:
        raise StoreError(
            "the Redis URL has both a login and a credential provider", "leave user and password out of the URL"
        )
    rest = urlencode([(name, value) for name, value in settings if name != "credential_provider"])
    return urlunsplit(parts._replace(query=rest)), provider


def _server(url: str, parts: SplitResult, common: Mapping[str, Any]) -> Place:
    settings = _settings(url)
    if "db" not in settings and "path" not in settings and parts.path.strip("/"):
        raise ValueError("the database is no number")  # the library would take 0
    client = redis.Redis.from_url(url, **common)
    client.connection_pool.make_connection()  # does not connect, but meets settings that nobody knows
    _check_files(settings)
    place = settings.get("path") or _host(settings)
    return Place(
        "server",
        f"{place}/{settings.get('db') or 0}",
        # A new one each time: after a fork the locks of an old one may be held for ever, by a thread that is not there.
        lambda: redis.Redis.from_url(url, **common),
        lambda: asynchronous.Redis.from_url(url, **common),
    )


def _sentinel(scheme: str, parts: SplitResult, common: Mapping[str, Any], replicas: bool) -> Place:
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("a service is missing")
    hosts = _hosts(scheme, parts, _SENTINEL_PORT)
    settings = {**hosts[0], "db": int(database or 0)}
    login = {ours: settings.pop(theirs) for theirs, ours in _SENTINEL_LOGIN.items() if theirs in settings}
    for name in ("host", "port", "connection_class"):
        settings.pop(name, None)
    tls = {"ssl": True} if scheme == "rediss" else {}
    _check(settings, tls)
    own = {name: value for name, value in settings.items() if name.startswith(("ssl_", "socket_"))}
    ports = [(each["host"], each["port"]) for each in hosts]
    to_sentinels = {**common, **own, **login, **tls}
    to_sentinels.pop("credential_provider", None)  # they have a login of their own
    to_servers = {**common, **settings, **tls, "is_master": not replicas}

    def connect() -> redis.Redis:
        # Where one Sentinel of several does not answer, the next one is asked at once.
        once = Retry(NoBackoff(), 0)
        found = _Sentinels(ports, sentinel_kwargs={"retry": once, **to_sentinels})  # type: ignore[no-untyped-call]
        # The library would wait for seconds; who wants to wait has a deadline of their own.
        brief = Retry(ExponentialBackoff(cap=0.5, base=0.02), 3)
        kind = {} if replicas else {"connection_class": _Tls if tls else _Plain}
        settings = {"retry": brief, **to_servers, **kind}
        pool = SentinelConnectionPool(service, found, **settings)  # type: ignore[no-untyped-call]
        return redis.Redis(connection_pool=pool)

    def connect_async() -> asynchronous.Redis:
        once = asynchronous.retry.Retry(NoBackoff(), 0)
        found = asynchronous.sentinel.Sentinel(ports, sentinel_kwargs={"retry": once, **to_sentinels})  # type: ignore[no-untyped-call]
        brief = asynchronous.retry.Retry(ExponentialBackoff(cap=0.5, base=0.02), 3)
        settings = {"retry": brief, **to_servers}
        pool = asynchronous.sentinel.SentinelConnectionPool(service, found, **settings)  # type: ignore[no-untyped-call]
        return asynchronous.Redis(connection_pool=pool)

    connect()  # does not connect, but meets what cannot be
    places = ",".join(map(_host, hosts))
    return Place("sentinel", f"{service}@{places}/{settings['db']}", connect, connect_async)


def _cluster(scheme: str, parts: SplitResult, common: Mapping[str, Any], replicas: bool) -> Place:
    if parts.path.strip("/") not in ("", "0"):
        raise ValueError("a Cluster has one database, 0")
    hosts = _hosts(scheme, parts, 6379)
    settings = {**hosts[0]}
    for name in ("host", "port", "connection_class"):
        settings.pop(name, None)
    tls = {"ssl": True} if scheme == "rediss" else {}
    _check(settings, tls)

    strategy = LoadBalancingStrategy.ROUND_ROBIN_REPLICAS if replicas else None

    def connect() -> RedisCluster:
        nodes = [ClusterNode(each["host"], each["port"]) for each in hosts]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, load_balancing_strategy=strategy, **{**common, **settings, **tls})

    def connect_async() -> asynchronous.RedisCluster:
        nodes = [asynchronous.cluster.ClusterNode(each["host"], each["port"]) for each in hosts]
        return asynchronous.RedisCluster(
            startup_nodes=nodes, load_balancing_strategy=strategy, **{**common, **settings, **tls}
        )

    return Place("cluster", ",".join(map(_host, hosts)), connect, connect_async)


async def close_async(client: Any) -> None:
    """Closes what ``connect_async`` made; the library's own way leaves the connections of a Sentinel service open."""
    pool = getattr(client, "connection_pool", None)  # a Cluster has one per node
    if manager := getattr(pool, "sentinel_manager", None):
        for each in (pool, *(sentinel.connection_pool for sentinel in manager.sentinels)):
            await each.disconnect()
    await client.aclose()


def _hosts(scheme: str, parts: SplitResult, port: int) -> list[dict[str, Any]]:
    """The library's settings for each host of ``user:password@host:port,host:port``, as of a URL of its own."""
    login, at, hosts = parts.netloc.rpartition("@")
    query = f"?{parts.query}" if parts.query else ""
    found = [_settings(f"{scheme}://{login}{at}{host}{query}") for host in hosts.split(",")]
    if not all(each.get("host") for each in found):
        raise ValueError("a host is missing")
    return [{**each, "port": each.get("port") or port} for each in found]


def _settings(url: str) -> dict[str, Any]:
    found: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    return found


def _host(settings: Mapping[str, Any]) -> str:
    host = settings.get("host", "localhost")
    return f"{f'[{host}]' if ':' in host else host}:{settings.get('port', 6379)}"


def _check(settings: Mapping[str, Any], tls: Mapping[str, Any]) -> None:
    """Raises for settings that no connection knows, as making one does."""
    kind: type[Connection] = SSLConnection if tls else Connection
    kind(**settings)
    _check_files(settings)


def _check_files(settings: Mapping[str, Any]) -> None:
    """Raises StoreError for certificates that cannot be used: while connecting, the words would name no file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authorities = {"cafile": settings.get("ssl_ca_certs"), "capath": settings.get("ssl_ca_path")}
    certificate, key = settings.get("ssl_certfile"), settings.get("ssl_keyfile")
    try:
        for name in _FILES:
            if name in settings and name != "ssl_ca_path":
                with open(settings[name], "rb"):
                    pass
        if any(authorities.values()):
            context.load_verify_locations(**authorities)
        if certificate or key:
            # Never without a password: OpenSSL would ask for it on the terminal.
            context.load_cert_chain(certificate or "", key, settings.get("ssl_password") or "")
    except (OSError, ValueError) as error:
        named = ", ".join(f"{name}={settings[name]}" for name in _FILES if name in settings)
        words = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise StoreError(
            f"the certificates of the Redis URL cannot be used ({named}): {words}",
            "name PEM files: ?ssl_ca_certs=ca.pem&ssl_certfile=client.pem&ssl_keyfile=client.key",
        ) from None


def tls_trouble(error: BaseException) -> tuple[str, str] | None:
    """What TLS has against a connection, in words, and what to do; None where ``error`` is about something else.

    Only what will not pass by itself: a connection that breaks is none of it.
    """
    met = next((each for each in causes(error) if isinstance(each, ssl.SSLError)), None)
    if isinstance(met, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted: {met.verify_message}",
            "name the authority that signed it: rediss://...?ssl_ca_certs=ca.pem; and the host as the certificate does",
        )
    reason = (met and met.reason) or ""
    if "ALERT" in reason and any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE")):
        return (f"it does not accept this client's certificate ({reason})", _CLIENT_CERTIFICATE)
    if (
        reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNSUPPORTED_PROTOCOL")
        or "PROTOCOL_VERSION" in reason
    ):
        return f"it does not speak TLS as we do ({reason})", _PLAIN
    return None


_CLIENT_CERTIFICATE = "give the one that it knows: rediss://...?ssl_certfile=client.pem&ssl_keyfile=client.key"
_PLAIN = "write redis:// for a Redis without TLS"


def advice(error: BaseException) -> str:
    """What to do where there is no connection, or none any more."""
    for each in causes(error):
        if isinstance(each, TimeoutError) and "handshake" in str(each):
            return f"is that port one for TLS? {_PLAIN}"
        if isinstance(each, TimeoutError | redis.TimeoutError) and each.__context__ is None:
            return "is it overloaded, or a firewall in between?"
        if isinstance(each, ssl.SSLError):  # an end without a reason: the alert may have been lost on the way
            return f"is it up? If it wants a client certificate, {_CLIENT_CERTIFICATE}"
        if isinstance(each, ConnectionResetError | BrokenPipeError) or str(each).startswith("Connection closed"):
            return "is it up? If it wants TLS, write rediss://"
    return "start one with `syncer redis`, or give its URL; commands take it from --url or SYNCER_REDIS_URL"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """``error`` and what led to it, the latest first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
