"""Every error a user of the syncer or of the client can meet.

Each carries a ``hint``: what to do next; `closest` makes one for a name that is not known. The module knows no other
module; the edges wrap what third-party libraries raise. One class per thing a caller might do differently:

    SyncerError
    +-- ProjectError           the dbt project, its profile or its manifest cannot be used
    |   +-- StaleManifestError     the manifest is older than the project's files
    +-- DefinitionError        a feature view or service is declared wrongly
    |   +-- UnsupportedTypeError   a column type that has no online form
    |   +-- WronglyDeclaredError   several parts of one declaration are wrong
    +-- RegistryError          the registry and the project disagree
    |   +-- RefusedError           changes that would break models, one problem each
    |   +-- ValueChangeError       a served feature would get other values
    +-- WarehouseError         the warehouse cannot be read
    |   +-- NotBuiltError              a table or view of it is not there
    |   +-- WarehouseUnavailableError  it as a whole, or no longer
    |       +-- WarehouseLockedError   another process holds the DuckDB file
    +-- DataError              the rows themselves cannot be served: empty view, duplicate or NULL keys
    +-- StoreError             Redis cannot be used
    |   +-- StoreUnavailableError  no answer at all
    |   |   +-- StoreNotReadyError     Redis is there, and will answer: it loads its data, or fails over
    |   +-- OvertakenError         another run wrote a view since this one looked
    |   +-- FencedError            another run took over in the middle of this one
    |   +-- StoreRefusedError      Redis answered with an error: password, rights, memory
    |   +-- StaleError             a view was not synced in time, and the client was told to refuse such
    |   +-- NamespaceError         the namespace belongs to another project, or nothing was ever published there
    +-- StoppedError           a run was told to stop; what it did is remembered
    +-- RequestError           a read asks for what is not served: service, feature, join key
    +-- WebhookError           nobody could be told
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence


class SyncerError(Exception):
    """What happened, with the value, in one sentence; ``hint`` says what to do next ("" when nothing helps)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Both, as a traceback shows them."""
        return f"{self.message}. Hint: {self.hint}" if self.hint else self.message


class ProjectError(SyncerError):
    """The dbt project, its profile or its manifest cannot be used."""


class StaleManifestError(ProjectError):
    """The manifest is older than the project's files."""


class DefinitionError(SyncerError):
    """A feature view or a feature service is declared wrongly."""


class UnsupportedTypeError(DefinitionError):
    """A column type that has no online form."""


class WronglyDeclaredError(DefinitionError):
    """All that is wrong with the parts of one declaration, in ``problems``; the message is that of the first."""

    def __init__(self, problems: Sequence[DefinitionError]) -> None:
        super().__init__(problems[0].message, problems[0].hint)
        self.problems = tuple(problems)


class RegistryError(SyncerError):
    """The registry and the project disagree."""


class RefusedError(RegistryError):
    """All that keeps a registry from being written, in ``problems``; the message is that of the first."""

    def __init__(self, problems: Sequence[SyncerError]) -> None:
        super().__init__(problems[0].message, problems[0].hint)
        self.problems = tuple(problems)


class ValueChangeError(RegistryError):
    """Served features would get other values. ``diff``: of their SQL; ``retrain``: who was trained on them."""

    def __init__(self, message: str, hint: str, diff: str, retrain: Sequence[str]) -> None:
        super().__init__(message, hint)
        self.diff = diff
        self.retrain = tuple(retrain)


class WarehouseError(SyncerError):
    """The warehouse cannot be read."""


class NotBuiltError(WarehouseError):
    """A table or view is not there."""


class WarehouseUnavailableError(WarehouseError):
    """The warehouse as a whole cannot be read, or no longer."""


class WarehouseLockedError(WarehouseUnavailableError):
    """Another process holds the DuckDB file."""


class DataError(SyncerError):
    """Rows that cannot be served as they are; nothing was written."""


class StoreError(SyncerError):
    """Redis cannot be used."""


class StoreUnavailableError(StoreError):
    """Redis gave no answer."""


class StoreNotReadyError(StoreUnavailableError):
    """Redis is there, and will answer in a moment: it is loading its data, or failing over."""


class OvertakenError(StoreError):
    """Another run wrote a view after this one had looked at it, and before it could write itself."""


class FencedError(StoreError):
    """Another run took over, or Redis lost what said that this run may write; nothing was written after that."""


class StoreRefusedError(StoreError):
    """Redis answered with an error."""


class StaleError(StoreError):
    """A view that was not synced in time, read by a client that refuses such."""


class NamespaceError(StoreError):
    """The namespace belongs to another project, or holds nothing."""


class StoppedError(SyncerError):
    """A run was told to stop, and stopped between two transactions."""


class RequestError(SyncerError):
    """A read asks for what is not served."""


class WebhookError(SyncerError):
    """The webhook did not take what was posted."""


def shown(value: object) -> str:
    """``value`` for a message: in no more than some hundred characters, whatever it is."""
    try:
        return reprlib.repr(value)
    except Exception:  # of an integer of thousands of digits, for one
        return f"<{type(value).__name__}>"


def one_line(text: str) -> str:
    """``text`` on one line, with nothing in it that a terminal or UTF-8 would stumble over."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def closest(word: object, known: Iterable[str], what: str) -> str:
    """The hint for a name that is unknown: the nearest known one, else all of them, introduced by ``what``."""
    names = sorted(known)
    close = difflib.get_close_matches(str(word), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"{what}: {', '.join(names) or 'none'}"
