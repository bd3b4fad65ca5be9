"""The macros of a project that decide about rows without standing in compiled SQL, and the variables that they ask for.

Hooks and custom materialisations reach some; some stand in for dbt's own; some dbt finds by the name of a strategy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from feature_warehouse.project.influence import Influence, as_json, digest

#: Our own dbt package.
PACKAGE = "feature_warehouse"

#: Macros of dbt whose words are judged by what they make: names of relations, and the compiled SQL.
_COMPILED = re.compile(r"(?:\w+__)?(?:generate_(?:schema|alias|database)_name\w*|ref|source|config)")

#: Jinja that asks for a variable; without the name where it is not written out.
_VARIABLE = re.compile(r"""\bvar(?:\.has_var)?\(\s*(?:['"](\w+)['"]\s*[,)])?""")
_WORD = re.compile(r"\w+")


class Macros:
    """Of one parsed project; ``variables``: of dbt_project.yml, by name, the project's own block among the others."""

    def __init__(self, manifest: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        self._macros: Mapping[str, Any] = manifest["macros"]
        self._project: str = manifest["metadata"]["project_name"]
        self._adapter: str = manifest["metadata"].get("adapter_type") or "duckdb"
        self._own = {"dbt", f"dbt_{self._adapter}"}
        self._by_name: dict[str, list[str]] = {}
        for id_, macro in self._macros.items():
            self._by_name.setdefault(macro["name"], []).append(id_)
        packages = {macro["package_name"] for macro in self._macros.values()}
        self._variables = {name: value for name, value in variables.items() if name not in (*packages, self._project)}
        for package in packages - {self._project}:
            block = variables.get(package)
            self._variables |= {f"{package}.{name}": value for name, value in (block or {}).items()}

    def called(self, of: str, text: str, node: Mapping[str, Any]) -> Iterator[Influence]:
        """The macros that a text with Jinja calls, with those that they call and the variables that they ask for."""
        yield from self._asked(text)
        yield from self.reached(of, self._named_in(text, node))

    def bodies(self, text: str, node: Mapping[str, Any]) -> list[str]:
        """The texts of the same macros."""
        return [self._macros[id_]["macro_sql"] for id_ in self._reaches(self._named_in(text, node))]

    def named(self, of: str, names: Iterable[str]) -> Iterator[Influence]:
        """The macros that dbt finds by their names."""
        yield from self.reached(of, [id_ for name in names for id_ in self._by_name.get(name, ())])

    def materialization(self, of: str, name: str) -> Iterator[Influence]:
        known = [
            id_ for other, ids in self._by_name.items() for id_ in ids if other.startswith(f"materialization_{name}_")
        ]
        yield from self.reached(of, known)

    def standing_in(self) -> Iterator[Influence]:
        """The macros that dbt takes for its own, or for ours."""
        inner = {*self._own, PACKAGE}
        known = {self._plain_name(macro) for macro in self._macros.values() if macro["package_name"] in inner}
        for id_, macro in self._macros.items():
            outer = macro["package_name"] not in inner
            if outer and self._plain_name(macro) in known and not _COMPILED.fullmatch(macro["name"]):
                yield from self.reached("", [id_])

    def _plain_name(self, macro: Mapping[str, Any]) -> str:
        """Without the adapter that a form of it is for."""
        name = re.sub(rf"^(?:default|{self._adapter})__", "", macro["name"])
        return re.sub(rf"^(materialization_\w+)_(?:default|{self._adapter})$", r"\1", name)

    def reached(self, of: str, macros: Iterable[str]) -> Iterator[Influence]:
        """The macros, and those that they call, of the project and its packages; dbt's own go by its release."""
        for id_ in self._reaches(macros):
            macro = self._macros[id_]
            name = macro["name"] if macro["package_name"] == self._project else id_.removeprefix("macro.")
            yield Influence("macro", of, name, digest(macro["macro_sql"]))
            yield from self._asked(macro["macro_sql"])

    def _reaches(self, macros: Iterable[str]) -> Iterator[str]:
        todo = list(macros)
        for id_ in todo:
            macro = self._macros.get(id_)
            if macro is not None and macro["package_name"] not in self._own:
                yield id_
                todo += [each for each in macro["depends_on"]["macros"] if each not in todo]

    def _named_in(self, text: str, node: Mapping[str, Any]) -> list[str]:
        """Of the macros that a node depends on, those that the text names; all, where it names none."""
        if "{{" not in text and "{%" not in text:
            return []
        known = [id_ for id_ in node.get("depends_on", {}).get("macros", ()) if id_ in self._macros]
        words = set(_WORD.findall(text))
        return [id_ for id_ in known if self._macros[id_]["name"] in words] or known

    def _asked(self, text: str) -> Iterator[Influence]:
        """The variables that a text asks for; where it makes up a name, all but the clock."""
        asked = set(_VARIABLE.findall(text))
        for name, value in self._variables.items():
            if name.rpartition(".")[2] in asked or ("" in asked and name != "feature_warehouse_now"):
                yield Influence("variable", "", name, as_json(value))
