"""What commands print: tables, JSON, errors, instants and paths as a person writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from feature_warehouse.errors import SyncerError

if TYPE_CHECKING:
    from feature_warehouse.gate.rebuild import Rebuild
    from feature_warehouse.mirror.sync import ViewSynced
    from feature_warehouse.wire.marker import Hold


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; the first to the left, numbers to the right."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for first, *others in lines:
        cells = [f"{first:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))]
        click.echo("  ".join(cells).rstrip())


def print_json(content: Mapping[str, object]) -> None:
    click.echo(json.dumps(content, default=_json_value, ensure_ascii=False, allow_nan=False))


def strict_json(value: object) -> object:
    """A feature's value; numbers that JSON does not have become 'NaN', 'Infinity' and '-Infinity'."""
    if isinstance(value, list):
        return [strict_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return value


def _json_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def say_error(error: SyncerError, kind: str = "Error") -> None:
    click.echo(f"{kind}: {error.message}", err=True)
    if error.hint:
        click.echo(f"Hint: {error.hint}", err=True)


def say_held(view: str, reasons: Iterable[SyncerError]) -> None:
    """Why a view is not published, and what to do."""
    for reason in reasons:
        click.echo(f"Held: {view}: {reason.message}", err=True)
        if reason.hint:
            click.echo(f"Hint: {reason.hint}", err=True)


def hold_json(held: Hold | None) -> dict[str, Any] | None:
    return None if held is None else {field.name: getattr(held, field.name) for field in fields(held)}


def synced_json(view: ViewSynced) -> dict[str, Any]:
    """What a run did to a view, and why not, where it is held."""
    found = {field.name: getattr(view, field.name) for field in fields(view)}
    reasons = [{"message": reason.message, "hint": reason.hint} for reason in view.reasons]
    return {**found, "held": hold_json(view.held), "reasons": reasons}


def rebuild_json(rebuild: Iterable[Rebuild]) -> list[dict[str, object]]:
    return [{**asdict(one), "message": one.message, "hint": one.hint} for one in rebuild]


def file_error(error: OSError) -> SyncerError:
    """The same about a file, as our own kind of error."""
    return SyncerError(f"{error.filename or 'a file'}: {error.strerror or error}", "mend that file, then try again")


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def utc(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z"


def shown(path: Path) -> str:
    """The path as the user would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def value_text(value: object) -> str:
    """A feature's value, in few words."""
    if isinstance(value, bool):  # as a key or a request value is written
        return str(value).lower()
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shown = ", ".join(value_text(item) for item in value[:4])
        return f"[{shown}, ... {len(value)} in all]" if len(value) > 4 else f"[{shown}]"
    return str(value)
