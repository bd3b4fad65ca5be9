"""Commits of dbt projects that change models, with the models before and after as nodes that the gate can judge.

Reads git alone: no dbt runs, nothing is checked out. Of Jinja, what most models need is rendered: refs, sources,
config, variables, loops, and the project's own macros where these are plain Jinja. A model that needs more is read like
a source.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import sqlglot
import yaml

from feature_warehouse.sql.nodes import Node
from feature_warehouse.sql.text import lower

#: Models above a served one that are read; the others are taken for sources.
_NEAREST = 12


class NeedsMore(Exception):
    """A model that is not rendered here, and why."""


@dataclass(frozen=True)
class Commit:
    """One commit; ``changed``: the models whose text differs, by name. The models on both sides by name, as files."""

    sha: str
    changed: tuple[str, ...]
    before: Models
    after: Models


class Git:
    """One repository, read; blobs are read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = subprocess.Popen(
            ["git", "-C", str(folder), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # an interrupt is for the replay, which then says what it has seen
        )
        self._texts: dict[str, str] = {}

    def __enter__(self) -> Git:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._blobs.stdin is not None
        assert self._blobs.stdout is not None
        self._blobs.stdin.close()
        self._blobs.stdout.close()
        self._blobs.wait()

    def _lines(self, *arguments: str) -> list[str]:
        done = subprocess.run(["git", "-C", str(self.folder), *arguments], capture_output=True, check=True)
        return done.stdout.decode(errors="replace").splitlines()

    def text(self, blob: str) -> str:
        if blob not in self._texts:
            assert self._blobs.stdin is not None
            assert self._blobs.stdout is not None
            self._blobs.stdin.write(f"{blob}\n".encode())
            self._blobs.stdin.flush()
            size = int(self._blobs.stdout.readline().split()[2])
            self._texts[blob] = self._blobs.stdout.read(size + 1)[:-1].decode(errors="replace")
        return self._texts[blob]

    def tree(self, sha: str) -> dict[str, str]:
        """The blobs of a commit by path, of the files that a dbt project is made of."""
        found = {}
        for line in self._lines("-c", "core.quotePath=off", "ls-tree", "-r", sha):
            how, _, path = line.partition("\t")
            if path.endswith((".sql", "dbt_project.yml")):
                found[path] = how.split()[2]
        return found

    def commits(self, dialect: str) -> Iterator[Commit]:
        """Those with one parent that edit a model's file, newest first."""
        log = self._lines(
            "log", "--no-merges", "--diff-filter=M", "--name-only", "--format=commit %H %P", "--", "*.sql"
        )
        sha, parent, paths = "", "", []
        for line in [*log, "commit end end"]:
            if not line.startswith("commit "):
                paths += [line] if line else []
                continue
            if sha and any("/models/" in f"/{path}" for path in paths):
                yield from self._commit(sha, parent, paths, dialect)
            _, sha, *parents = line.split()
            parent, paths = (parents or [""])[0], []

    def _commit(self, sha: str, parent: str, paths: list[str], dialect: str) -> Iterator[Commit]:
        one, two = self.tree(parent), self.tree(sha)
        for root in sorted(path.removesuffix("dbt_project.yml") for path in two if path.endswith("dbt_project.yml")):
            before, after = (Models(self, tree, root, dialect) for tree in (one, two))
            changed = tuple(
                name
                for name, path in after.paths.items()
                if path in paths and name in before.paths and before.text(name) != after.text(name)
            )
            if changed:
                yield Commit(sha, changed, before, after)


@dataclass
class Rendered:
    """A model's SQL, that of a later run where it is incremental, and what it reads."""

    sql: str
    later: str | None
    reads: tuple[str, ...]
    config: Mapping[str, Any]


class Models:
    """The models of one project at one commit."""

    def __init__(self, git: Git, tree: Mapping[str, str], root: str, dialect: str) -> None:
        self.git, self.root, self.dialect = git, root, dialect
        self._tree = tree
        project = _yaml(git.text(tree[f"{root}dbt_project.yml"])) if f"{root}dbt_project.yml" in tree else {}
        folders = project.get("model-paths") or project.get("source-paths") or ["models"]
        self.name = str(project.get("name", ""))
        self.variables = _variables(project, self.name)
        self.paths = {
            lower(Path(path).stem): path
            for path in tree
            if path.endswith(".sql") and any(path.startswith(f"{root}{folder}/") for folder in folders)
        }
        self._macros = [
            blob
            for path, blob in tree.items()
            if path.endswith(".sql")
            and any(path.startswith(f"{root}{f}/") for f in project.get("macro-paths", ["macros"]))
        ]
        self._rendered: dict[str, Rendered | NeedsMore] = {}
        self._globals: dict[str, Any] | None = None

    def text(self, name: str) -> str:
        return self.git.text(self._tree[self.paths[name]])

    def named_in(self, name: str) -> set[str]:
        """The models that a text refers to, by its words."""
        return {lower(one) for one in re.findall(r"ref\s*\([^)]*?['\"](\w+)['\"]\s*\)", self.text(name))}

    def below(self, name: str) -> list[str]:
        """The models that read one, over however many others."""
        readers: dict[str, list[str]] = {}
        for other in self.paths:
            for read in self.named_in(other):
                readers.setdefault(read, []).append(other)
        found = [name]
        for one in found:
            found += [reader for reader in readers.get(one, ()) if reader not in found]
        return found[1:]

    def nodes(self, name: str, sources: frozenset[str] = frozenset()) -> dict[str, Node]:
        """A model and those above it, the nearest. What cannot be rendered, what is far away, one of ``sources``, and
        what is no model: a source. Raises NeedsMore."""
        found: dict[str, Node] = {}
        waiting = [name]
        for one in waiting:
            far = sum(node.sql is not None for node in found.values()) >= _NEAREST
            try:
                rendered = self.rendered(one) if one in self.paths and not far and one not in sources else None
            except NeedsMore:
                if one == name:
                    raise
                rendered = None
            if rendered is None:
                found[one] = Node()
                continue
            config = rendered.config
            key = config.get("unique_key") or ()
            found[one] = Node(
                rendered.sql,
                rendered.later,
                str(config.get("incremental_strategy", "")) if rendered.later else "",
                tuple([key] if isinstance(key, str) else key) if rendered.later else (),
                reads=rendered.reads,
            )
            waiting += [read for read in rendered.reads if read not in waiting]
        return found

    def cut(self, nodes: Mapping[str, Node]) -> frozenset[str]:
        """The models among nodes that are read like sources."""
        return frozenset(name for name, node in nodes.items() if node.sql is None and name in self.paths)

    def rendered(self, name: str) -> Rendered:
        if name not in self._rendered:
            try:
                self._rendered[name] = self._render(name)
            except NeedsMore as error:
                self._rendered[name] = error
            except Exception as error:  # a macro may do anything with what it gets
                self._rendered[name] = NeedsMore(f"{type(error).__name__}: {str(error).splitlines()[0][:90]}")
        found = self._rendered[name]
        if isinstance(found, NeedsMore):
            raise found
        return found

    def _render(self, name: str) -> Rendered:
        text = self.text(name)
        run = _Run(self, name)
        sql = self._sql(text, run)
        later = None
        if run.config.get("materialized") == "incremental":
            run.later = True
            later = self._sql(text, run)
        return Rendered(sql, later, tuple(dict.fromkeys(run.reads)), run.config)

    def _sql(self, text: str, run: _Run) -> str:
        sql = _ENVIRONMENT.from_string(text, globals=self._own_macros(run, text)).render().strip().rstrip(";")
        if not self.dialect:
            return sql
        try:
            [found] = sqlglot.transpile(sql, read=self.dialect, write="duckdb")
        except (sqlglot.errors.SqlglotError, ValueError) as error:
            raise NeedsMore("its dialect is not translated") from error
        return found

    def _own_macros(self, run: _Run, text: str) -> dict[str, Any]:
        """The project's macros that a text names, and those that these name; they see one another."""
        shared: dict[str, Any] = dict(run.context)
        known = {name: one for blob in self._macros for name, one in _macros(self.git.text(blob))}
        waiting = [text]
        while waiting:
            words = set(re.findall(r"\w+", waiting.pop()))
            for name in words & known.keys() - shared.keys():
                try:
                    module = jinja2.Template.from_code(_ENVIRONMENT, _compiled(known[name]), shared).module
                except jinja2.TemplateError:  # a macro of another kind than is understood here
                    continue
                if not name.startswith("_"):  # which Jinja keeps to itself
                    shared[name] = getattr(module, name)
                waiting.append(known[name])
        return shared


_MACRO = re.compile(r"\{%-?\s*macro\s+(\w+).*?\{%-?\s*endmacro\s*-?%\}", re.DOTALL)


@cache
def _macros(text: str) -> list[tuple[str, str]]:
    return [(found[1], found[0]) for found in _MACRO.finditer(text)]


@cache
def _compiled(text: str) -> Any:
    return _ENVIRONMENT.compile(text)


_ENVIRONMENT = jinja2.Environment(
    extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], undefined=jinja2.StrictUndefined
)
_ENVIRONMENT.filters |= {f"as_{kind}": lambda value: value for kind in ("bool", "native", "number", "text")}


@dataclass
class _Target:
    type: str
    name: str = "dev"
    schema: str = "main"
    database: str = "db"


@dataclass
class _Run:
    """What a model sees while it is rendered."""

    models: Models
    model: str
    later: bool = False
    reads: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def context(self) -> dict[str, Any]:
        return {
            "ref": self._ref,
            "source": self._source,
            "config": self._config,
            "var": self._var,
            "env_var": self._default,
            "is_incremental": lambda: self.later,
            "this": f"ref.{self.model}",
            "target": _Target(self.models.dialect or "duckdb"),
            "execute": True,
            "return": _returned,
            "dbt": _Dbt,
            "dbt_utils": _DbtUtils,
        }

    def _ref(self, *names: str, **version: object) -> str:
        name = lower(names[-1])
        self.reads.append(name)
        return f"ref.{name}"

    def _source(self, source: str, table: str) -> str:
        name = re.sub(r"\W", "_", f"{source}__{table}".lower())
        self.reads.append(name)
        return f"ref.{name}"

    def _config(self, *given: Mapping[str, Any], **more: Any) -> str:
        for one in given:
            self.config |= one
        self.config |= more
        return ""

    def _var(self, name: str, *default: Any) -> Any:
        if name in self.models.variables:
            return self.models.variables[name]
        return self._default(name, *default)

    def _default(self, name: str, *default: Any) -> Any:
        if not default:
            raise NeedsMore("a variable without a value")
        return default[0]


class _Dbt:
    """Of dbt's own macros, the names of types."""

    type_string = staticmethod(lambda: "varchar")
    type_timestamp = staticmethod(lambda: "timestamp")
    type_float = staticmethod(lambda: "double")
    type_numeric = staticmethod(lambda: "decimal(28, 6)")
    type_int = staticmethod(lambda: "integer")
    type_bigint = staticmethod(lambda: "bigint")
    type_boolean = staticmethod(lambda: "boolean")


class _DbtUtils:
    """Of dbt_utils, the key that most projects make."""

    @staticmethod
    def generate_surrogate_key(columns: list[str]) -> str:
        return f"md5({' || '.join(f'coalesce(cast({one} as varchar), {chr(39) * 2})' for one in columns)})"

    surrogate_key = generate_surrogate_key


def _returned(value: Any) -> Any:
    raise NeedsMore("a macro that returns a value")


def _yaml(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _variables(project: Mapping[str, Any], name: str) -> dict[str, Any]:
    written = project.get("vars") or {}
    return {**written, **(written.get(name) or {})} if isinstance(written, dict) else {}
