"""The dbt project: where it is, what its target reads, and what `--select` means.

The only module that calls dbt. Profiles may hold Jinja, environment variables and secrets: only the plain ones are read
without it (`profile`). dbt is imported when first needed (it takes a second or two).
"""

from __future__ import annotations

import json
import os
import re
import traceback
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime, timezone
from io import StringIO
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from feature_warehouse.errors import ProjectError, RequestError
from feature_warehouse.project.declarations import Declarations, read_declarations
from feature_warehouse.project.manifest import check_fresh, check_target, load_manifest
from feature_warehouse.project.profile import Target, plain_target


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A dbt project as one of its targets sees it."""

    name: str
    target: str
    folder: Path
    profiles_folder: Path
    manifest_path: Path
    source_paths: tuple[Path, ...]  # folders whose files the manifest is made from
    database: Path  # the DuckDB file; relative paths are relative to the current folder, as for dbt
    catalog: str
    schema: str
    settings: dict[str, Any] = field(default_factory=dict)  # of every connection
    now: str | None = None  # the var feature_warehouse_now

    @property
    def default_namespace(self) -> str:
        return f"{self.name}_{self.target}"

    @property
    def session_zone(self) -> str | None:
        """The time zone of dbt's connections; None where the profile leaves it to the machine."""
        return next((str(zone) for name, zone in self.settings.items() if name.lower() == "timezone"), None)

    def manifest_stamp(self) -> object:
        """Something else once the manifest has been written anew."""
        try:
            found = self.manifest_path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def clock(self) -> datetime | None:
        """Where the project's own clock stands, None for the real time. Raises RequestError when it is no instant."""
        try:
            return None if self.now is None else parse_instant(str(self.now))
        except RequestError as error:
            raise RequestError(f"the var feature_warehouse_now: {error.message}", error.hint) from None

    @property
    def runs_path(self) -> Path:
        return self.manifest_path.with_name("run_results.json")

    @property
    def registry_path(self) -> Path:
        return self.folder / "registry" / "registry.json"

    @property
    def proto_path(self) -> Path:
        return self.folder / "registry" / "features.proto"


def parse_instant(text: str) -> datetime:
    """'2013-02-01T00:00:00Z' in UTC. Raises RequestError for a text without date, time and zone."""
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise RequestError(f"'{text}' names no instant", "write date, time and zone: 2013-02-01T00:00:00Z")
    return moment.astimezone(timezone.utc)


def load_project(project_dir: Path | None, profiles_dir: Path | None, target: str | None) -> Project:
    """The project in ``project_dir``, by default the current folder or the nearest above that has one.

    Raises ProjectError, mostly in dbt's own words.
    """
    here = Path.cwd()
    nearest = (folder for folder in (here, *here.parents) if (folder / "dbt_project.yml").exists())
    folder = (project_dir or next(nearest, here)).resolve()
    if not (folder / "dbt_project.yml").exists():
        raise ProjectError(
            f"{folder} is not a dbt project: there is no dbt_project.yml", "give its folder: --project-dir"
        )
    profiles_folder = _profiles_folder(profiles_dir)
    found = plain_target(folder, profiles_folder, target) or _target(folder, profiles_folder, target)
    own: dict[str, Any] = found.variables.get(found.project) or {}  # a package's block goes before the global ones
    return Project(
        name=found.project,
        target=found.target,
        folder=folder,
        profiles_folder=profiles_folder,
        manifest_path=folder / found.target_path / "manifest.json",
        source_paths=tuple(folder / path for path in [*found.model_paths, *found.macro_paths]),
        database=Path(found.path),
        catalog=found.catalog,
        schema=found.schema,
        settings=found.settings,
        now=own.get("feature_warehouse_now") or found.variables.get("feature_warehouse_now"),
    )


def _target(folder: Path, profiles_folder: Path, target: str | None) -> Target:
    """What dbt reads in the project and the profile."""
    reading = "read the project", f"see what `dbt debug` says; profiles come from {profiles_folder} (--profiles-dir)"
    with _dbt_errors(*reading):
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
    if credentials.type != "duckdb":
        raise ProjectError(
            f"the target '{profile.target_name}' is a {credentials.type} warehouse", "the syncer reads DuckDB: --target"
        )
    return Target(
        project=project.project_name,
        target=profile.target_name,
        target_path=project.target_path,
        model_paths=tuple(project.model_paths),
        macro_paths=tuple(project.macro_paths),
        path=credentials.path,
        catalog=credentials.database,
        schema=credentials.schema,
        settings=dict(credentials.settings or {}),
        variables=project.vars.vars,
    )


def load_project_manifest(project: Project) -> dict[str, Any]:
    """The project's manifest. Raises ProjectError when it is missing, stale or another target's."""
    manifest = load_manifest(project.manifest_path)
    check_fresh(manifest, project.folder, project.source_paths)
    check_target(manifest, project.target, project.catalog, project.schema)
    return manifest


def load_declarations(project: Project) -> Declarations:
    """What the manifest declares. Raises ProjectError like ``load_project_manifest``."""
    return read_declarations(load_project_manifest(project))


def select_models(project: Project, selection: tuple[str, ...], target: str | None) -> set[str]:
    """The unique ids of the models that dbt's ``--select`` means. Raises ProjectError in dbt's own words.

    ``target``: as it was given. Naming the default one too would make dbt parse the whole project anew.
    """
    selecting = "read the selection", f"see what `dbt ls --select {' '.join(selection)}` says"
    with _dbt_errors(*selecting), redirect_stdout(StringIO()):  # `ls` prints, however quiet
        from dbt.cli.main import dbtRunner

        command = ["--quiet", "--log-level-file", "none", "ls", "--resource-type", "model", "--output", "json"]
        command += ["--output-keys", "unique_id", "--no-write-json", "--select", *selection]
        command += ["--project-dir", str(project.folder), "--profiles-dir", str(project.profiles_folder)]
        result = dbtRunner().invoke([*command, *(["--target", target] if target else [])])
        if not result.success:
            raise result.exception or ProjectError("dbt could not list the models")
    lines: Any = result.result
    return {json.loads(line)["unique_id"] for line in lines}


class ModelRuns:
    """Runs of some dbt models in this process; the project is parsed again only when its manifest has changed."""

    def __init__(self, selection: tuple[str, ...], target: str | None) -> None:
        """``target``: as it was given."""
        self._selection, self._target = selection, target
        self._runner: Any = None
        self._stamp: object = None

    def run(self, project: Project) -> None:
        """Raises ProjectError in the words of the first model that failed; the file is free again either way."""
        words = " ".join(self._selection)
        with _dbt_errors("run the models", f"see what `dbt run --select {words}` says"), redirect_stdout(StringIO()):
            from dbt.cli.main import dbtRunner

            stamp = project.manifest_stamp()
            if self._runner is None or stamp != self._stamp:
                parsed = self._invoke(dbtRunner(), project, "parse")
                self._runner, self._stamp = dbtRunner(manifest=parsed), stamp
            done = self._invoke(self._runner, project, "run", "--select", *self._selection)
            if not done.results:
                raise ProjectError(
                    f"--run {words} selects no model", f"see what `dbt ls --resource-type model --select {words}` lists"
                )

    def _invoke(self, runner: Any, project: Project, *command: str) -> Any:
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        manager: Any = DuckDBConnectionManager
        command = ("--quiet", "--log-level-file", "none", "--no-write-json", *command)
        command += ("--project-dir", str(project.folder), "--profiles-dir", str(project.profiles_folder))
        try:
            done = runner.invoke([*command, *(["--target", self._target] if self._target else [])])
        finally:
            manager.close_all_connections()  # profiles may say keep_open
        if done.success:
            return done.result
        failed = [f"{node.node.name}: {node.message}" for node in getattr(done.result, "results", ()) if node.message]
        raise done.exception or ProjectError(f"dbt run failed: {' '.join((failed or ['?'])[0].split())}")


def compile_sql(project: Project, jinja: str, target: str | None) -> str:
    """The SQL that dbt makes of a piece of Jinja, without opening the warehouse.

    Raises ProjectError in the macro's words. In a target folder of its own: what other dbt runs have cached there stays
    theirs. ``target``: as it was given.
    """
    compiling = "compile the query", "see what `dbt compile` says"
    with _dbt_errors(*compiling), redirect_stdout(StringIO()):  # dbt prints what it compiled inline
        from dbt.cli.main import dbtRunner

        command = ["--quiet", "--log-level-file", "none", "compile", "--no-introspect", "--no-populate-cache"]
        command += ["--no-write-json", "--target-path", str(project.manifest_path.parent / "syncer"), "--inline", jinja]
        command += ["--project-dir", str(project.folder), "--profiles-dir", str(project.profiles_folder)]
        result = dbtRunner().invoke([*command, *(["--target", target] if target else [])])
        if result.exception is not None:
            _end_pools(result.exception)
            raise ProjectError(_own_words(str(result.exception)))
    compiled: Any = result.result
    return str(compiled.results[0].node.compiled_code)


#: Where the clock stands while feature views are compiled for the gate, on every machine. No value hangs on it.
COMPILE_CLOCK = "2000-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A project as dbt parsed it just now: ``graph`` for dbt, ``manifest`` as it would be in manifest.json."""

    graph: Any
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What dbt made of a project without looking at a warehouse, by unique id.

    sql: of models and snapshots, as a first run or a full refresh would send it. later: of incremental models, as every
    later run would. failed: why some have none; what reads them has none either.
    """

    manifest: dict[str, Any]
    sql: Mapping[str, str]
    later: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, ProjectError] = field(default_factory=dict)


def parse_project(project: Project, target: str | None) -> Parsed:
    """The project as its files are now. ``target``: as it was given.

    With the gate's clock, in a target folder of its own, so that dbt's cache of what it parsed stays warm (see
    ``forget_parsed``). Raises ProjectError in dbt's words.
    """
    with _dbt_for_gate():
        graph = _gate_run(project, target, None, "parse")
        return Parsed(graph, graph.writable_manifest().to_dict(omit_none=False))


def compile_feature_views(project: Project, target: str | None, parsed: Parsed | None = None) -> Compiled:
    """What dbt makes of the feature views and all above them. Nothing is asked of a warehouse, and none is needed.

    A model that does not compile, or asks the warehouse while it does, is a failed one. Raises ProjectError, mostly in
    dbt's words, when dbt cannot begin.
    """
    parsed = parsed or parse_project(project, target)
    graph = parsed.graph
    with _dbt_for_gate():
        models = [node for node in graph.nodes.values() if node.resource_type == "model"]
        views = [node for node in models if (node.config.meta or {}).get("feature_view")]
        python = [node for node in models if node.language != "sql"]  # dbt cannot compile them by themselves
        selected = sorted({f"+{_selector(view)}" for view in views})
        _say_incremental(graph, "false")
        failed: dict[str, ProjectError] = {}
        sql = _compiled(project, target, graph, failed, selected, python, full_refresh=True)
        later = [node for node in models if node.config.materialized == "incremental" and node.unique_id in sql]
        for node in later:  # dbt holds them for done
            node.compiled, node.extra_ctes, node.extra_ctes_injected = False, [], False
        _say_incremental(graph, "execute")
        selected = [f"{one},config.materialized:incremental" for one in selected] if later else []
        later_sql = _compiled(project, target, graph, failed, selected, python)
        return Compiled(manifest=parsed.manifest, sql=sql, later=later_sql, failed=failed)


def _selector(view: Any) -> str:
    """The view, with all others of its entity where there is one: dbt looks at the whole project for each selector."""
    declared = view.config.meta["feature_view"]
    entity = declared.get("entity") if isinstance(declared, dict) else None
    if isinstance(entity, str) and entity.isidentifier():
        return f"config.meta.feature_view.entity:{entity}"
    return f"fqn:{'.'.join(view.fqn)}"


def remembers_parsed(project: Project) -> bool:
    """Whether dbt has parsed the project for the gate before."""
    return _parse_state(project).exists()


def forget_parsed(project: Project) -> None:
    """The next ``parse_project`` reads all files anew.

    What dbt parses of the files that have changed does not always fit what it remembers of the others: after some
    edits of snapshots and their sources, dbt 1.11 has seen one snapshot twice, and one without its source.
    """
    _parse_state(project).unlink(missing_ok=True)


def _parse_state(project: Project) -> Path:
    return project.manifest_path.parent / "gate" / "partial_parse.msgpack"


@contextmanager
def _dbt_for_gate() -> Iterator[None]:
    here = Path.cwd()  # dbt changes it
    try:
        with _dbt_errors("compile the feature views", "see what `dbt compile` says"), redirect_stdout(StringIO()):
            yield
    finally:
        os.chdir(here)


def _compiled(
    project: Project,
    target: str | None,
    graph: Any,
    failed: dict[str, ProjectError],
    selected: Sequence[str],
    without: Sequence[Any],
    *,
    full_refresh: bool = False,
) -> dict[str, str]:
    """The compiled SQL of what dbt selects, by unique id. Adds to ``failed`` those that have none."""
    if not selected:
        return {}
    command = ["compile", "--no-fail-fast", "--no-introspect", "--no-populate-cache", "--indirect-selection", "empty"]
    command += ["--full-refresh"] if full_refresh else []
    command += ["--select", *selected]
    command += ["--exclude", *(f"fqn:{'.'.join(node.fqn)}" for node in without)] if without else []
    with _to_the_end():
        done = _gate_run(project, target, graph, *command)
    bad = {result.node.unique_id: result.message for result in done.results if result.status in ("error", "skipped")}
    for id_, message in bad.items():
        if message:
            failed.setdefault(id_, _not_compiled(_cause(message, bad)))
    found = {result.node.unique_id: result.node.compiled_code or "" for result in done.results}
    return {id_: sql for id_, sql in found.items() if id_ not in bad}


@contextmanager
def _to_the_end() -> Iterator[None]:
    """dbt's `compile` stops at the first model that fails; here the others are wanted, too."""
    from dbt.task.compile import CompileTask

    task: Any = CompileTask
    stops = task.raise_on_first_error
    task.raise_on_first_error = lambda self: False
    try:
        yield
    finally:
        task.raise_on_first_error = stops


def _say_incremental(graph: Any, answer: str) -> None:
    """What ``is_incremental`` says from now on; dbt's own looks whether the table is there."""
    for macro in graph.macros.values():
        if macro.name == "is_incremental":
            macro.macro_sql = f"{{% macro is_incremental() %}}{{{{ return({answer}) }}}}{{% endmacro %}}"


def _gate_run(project: Project, target: str | None, graph: Any, *command: str) -> Any:
    from dbt.cli.main import dbtRunner

    options = ["--project-dir", str(project.folder), "--profiles-dir", str(project.profiles_folder), "--no-write-json"]
    options += ["--target-path", str(project.manifest_path.parent / "gate")]
    options += ["--vars", json.dumps({"feature_warehouse_now": COMPILE_CLOCK})]
    done = dbtRunner(manifest=graph).invoke(
        ["--quiet", "--log-level-file", "none", *command, *options, *(["--target", target] if target else [])]
    )
    if done.exception is not None:
        _end_pools(done.exception)
        raise _not_compiled(str(done.exception))
    return done.result


def _not_compiled(report: str) -> ProjectError:
    """What dbt says of a model, in a sentence."""
    place = _PLACE.search(report)
    if place and "connection never acquired" in report:
        return ProjectError(
            f"{place[1]} asks the warehouse while it is compiled, so its SQL is not the same everywhere",
            "write down in the model what it asks for: names of columns, values",
        )
    return ProjectError(
        f"{place[1]}: {_own_words(report)}" if place else _own_words(report),
        "mend the model" if place else "see what `dbt compile` says",
    )


#: The file in dbt's heading: 'Compilation Error in model orders_v1 (models/orders_v1.sql)'.
_PLACE = re.compile(r" in (?:model|snapshot) \S+ \((\S+)\)")

#: The same of a model that reads one that failed: '... caused by compilation error in referenced ephemeral model ...'.
_INLINED = re.compile(r"in referenced ephemeral model (model\.\w+\.\S+)")


def _cause(report: str, reports: Mapping[str, str]) -> str:
    """Why a model failed: dbt's report of the ephemeral one that ``report`` blames, else ``report`` itself."""
    while (inlined := _INLINED.search(report)) and (own := reports.get(inlined[1])):
        report = own
    return report


def _own_words(report: str) -> str:
    """What a macro says in dbt's report of it, without dbt's heading above and the trail of macros below."""
    lines = [line.strip() for line in report.splitlines() if line.strip()]
    own = (line for line in lines if not line.startswith(("Compilation Error", "Runtime Error", ">")))
    return " ".join(own) or report


def _end_pools(error: BaseException) -> None:
    """Ends the thread pool that dbt leaves running behind an error; Python would complain of it at exit."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        pool = frame.f_locals.get("pool")
        if isinstance(pool, ThreadPool):
            pool.terminate()


def _profiles_folder(profiles_dir: Path | None) -> Path:
    """Where dbt looks for profiles.yml: the option, its environment variables, the current folder, ~/.dbt."""
    for given in (profiles_dir, os.environ.get("DBT_PROFILES_DIR"), os.environ.get("DBT_ENGINE_PROFILES_DIR")):
        if given:
            return Path(given).resolve()
    here = Path.cwd()
    return here if (here / "profiles.yml").exists() else Path.home() / ".dbt"


@contextmanager
def _dbt_errors(what: str, hint: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ProjectError(f"dbt is not installed: {error}", "pip install 'feature-warehouse[dbt,sync]'") from error
    except ProjectError:
        raise
    except Exception as error:  # dbt's errors have no common base that its plugins keep to
        words = " ".join(str(getattr(error, "msg", None) or error).split())
        raise ProjectError(f"dbt cannot {what}: {words}", hint) from error
