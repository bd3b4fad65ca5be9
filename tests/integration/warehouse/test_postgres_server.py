"""The PostgreSQL that other tests build in: it is ours, it is empty, and it asks for the password."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import psycopg2
import pytest

if TYPE_CHECKING:
    from tests.support.postgres import Database


def test_it_answers_as_the_machine_s_own_does(database: Database) -> None:
    said = database.execute("select current_setting('server_version_num')::int >= 130000, current_setting('TimeZone')")
    assert said == [(True, "America/New_York")]
    assert database.execute("select tablename from pg_tables where schemaname = 'public'") == []


def test_it_refuses_a_wrong_password(database: Database) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        dataclasses.replace(database, password="guessed").execute("select 1")
