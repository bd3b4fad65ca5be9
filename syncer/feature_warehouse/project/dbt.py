"""dbt itself: called in this process, its errors as ours, and what it reads in a project and a profile.

dbt is imported when it is first called: that takes a second or two.
"""

from __future__ import annotations

import os
import traceback
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_warehouse.errors import ProjectError
from feature_warehouse.project.profile import Output, Target, login_of

if TYPE_CHECKING:
    from feature_warehouse.project.project import Project


@contextmanager
def calling_dbt(purpose: str, hint: str) -> Iterator[None]:
    """A block that calls dbt. What dbt prints is kept back; whatever it raises becomes a ProjectError: "dbt cannot
    <purpose>: <its words>"."""
    try:
        with redirect_stdout(StringIO()):  # `ls` and `compile --inline` print, however quiet
            yield
    except ImportError as error:
        raise ProjectError(f"dbt is not installed: {error}", "pip install 'feature-warehouse[dbt,sync]'") from error
    except ProjectError:
        raise
    except Exception as error:  # dbt's errors have no common base that its plugins keep to
        words = " ".join(str(getattr(error, "msg", None) or error).split())
        raise ProjectError(f"dbt cannot {purpose}: {words}", hint) from error


def read_target(folder: Path, profiles_folder: Path, target: str | None) -> Target:
    """What dbt reads in the project and the profile."""
    reading = "read the project", f"see what `dbt debug` says; profiles come from {profiles_folder} (--profiles-dir)"
    with calling_dbt(*reading):
        from dbt.config.runtime import load_profile
        from dbt.config.runtime import load_project as load_dbt_project
        from dbt.flags import set_from_args
        from dbt_common.context import set_invocation_context

        set_invocation_context(dict(os.environ))
        flags = Namespace(
            PROFILES_DIR=str(profiles_folder), PROJECT_DIR=str(folder), TARGET_PATH=os.environ.get("DBT_TARGET_PATH")
        )
        set_from_args(flags, None)
        profile = load_profile(str(folder), {}, None, target)
        project = load_dbt_project(str(folder), False, profile, {})
    credentials: Any = profile.credentials
    return Target(
        project=project.project_name,
        target=profile.target_name,
        target_path=project.target_path,
        model_paths=tuple(project.model_paths),
        macro_paths=tuple(project.macro_paths),
        output=Output(
            adapter=credentials.type,
            catalog=credentials.database,
            schema=credentials.schema,
            **_reached(credentials),
        ),
        variables=project.vars.vars,
    )


#: What dbt-duckdb does with Python of its own or a server, so that nobody else can.
_DBT_ALONE = ("filesystems", "plugins", "remote", "flights", "use_credential_provider")


def _reached(credentials: Any) -> dict[str, Any]:
    """How a warehouse is reached; of one that the syncer does not read, nothing."""
    if credentials.type == "postgres":
        return {"login": login_of(credentials.to_dict())}
    return _duckdb(credentials) if credentials.type == "duckdb" else {}


def _duckdb(credentials: Any) -> dict[str, Any]:
    """How dbt-duckdb reaches its databases. What it attaches is attached for reading; extensions are loaded, and not
    installed: dbt did that."""
    extensions = [each if isinstance(each, str) else each["name"] for each in credentials.extensions or ()]
    attached = {}
    for each in credentials.attach or ():
        options = {name: value for name, value in (each.options or {}).items() if name != "read_only"}
        catalog = each.alias or credentials.path_derived_database_name(each.path)
        attached[catalog] = replace(each, read_only=True, options=options or None).to_sql()
    return {
        "path": credentials.path,
        "settings": dict(credentials.settings or {}),
        "config": dict(credentials.config_options or {}),
        "statements": (*(f"load {name}" for name in extensions), *credentials.secrets_sql()),
        "attached": attached,
        "unknown": tuple(name for name in _DBT_ALONE if getattr(credentials, name, None)),
    }


@cache
def releases(adapter: str) -> dict[str, str]:
    """The releases of dbt and its adapter, as far as their macros change with them: {'dbt-core': '1.11', ...}."""
    return {name: ".".join(version(name).split(".")[:2]) for name in ("dbt-core", f"dbt-{adapter}")}


@cache
def default_config(resource_type: str) -> dict[str, Any]:
    """What dbt's config of a model, seed, snapshot or source says where nobody has, as in the manifest."""
    from dbt.artifacts.resources.v1.config import NodeConfig
    from dbt.artifacts.resources.v1.model import ModelConfig
    from dbt.artifacts.resources.v1.seed import SeedConfig
    from dbt.artifacts.resources.v1.snapshot import SnapshotConfig
    from dbt.artifacts.resources.v1.source_definition import SourceConfig

    kinds: dict[str, Any] = {
        "model": ModelConfig,
        "seed": SeedConfig,
        "snapshot": SnapshotConfig,
        "source": SourceConfig,
    }
    return dict(kinds.get(resource_type, NodeConfig)().to_dict(omit_none=False))


def invoke(project: Project, *command: str, graph: Any = None) -> Any:
    """dbt's own result of a command on the project; ``graph``: as dbt parsed it before, which saves doing so again.

    The target is named only where it was given: naming the default one would make dbt parse the whole project anew.
    """
    from dbt.cli.main import dbtRunner

    place = ["--project-dir", str(project.folder), "--profiles-dir", str(project.profiles_folder)]
    target = ["--target", project.options.target] if project.options.target else []
    quietly = ["--quiet", "--log-level-file", "none", "--no-write-json"]
    return dbtRunner(manifest=graph).invoke([*quietly, *command, *place, *target])


def own_words(report: str) -> str:
    """What a macro says in dbt's report of it, without dbt's heading above and the trail of macros below."""
    lines = [line.strip() for line in report.splitlines() if line.strip()]
    own = (line for line in lines if not line.startswith(("Compilation Error", "Runtime Error", ">")))
    return " ".join(own) or report


def end_pools(error: BaseException) -> None:
    """Ends the thread pool that dbt leaves running behind an error; Python would complain of it at exit."""
    from multiprocessing.pool import ThreadPool

    for frame, _ in traceback.walk_tb(error.__traceback__):
        pool = frame.f_locals.get("pool")
        if isinstance(pool, ThreadPool):
            pool.terminate()
