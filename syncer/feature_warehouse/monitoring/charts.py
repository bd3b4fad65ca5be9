"""Charts as inline SVG: two distributions, and a value over time. Text in, text out; colours come from the page's CSS.

Shapes tell apart what colours tell apart. Whoever cannot see a chart has its figures in a table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP = 46, 12, 16

#: Of longer lines only what stands out has dots.
_DOTS = 14

#: An axis goes up to this at least: 1 %.
_LEAST = 0.01


@dataclass(frozen=True, slots=True)
class Point:
    """``value`` None: a gap. ``mark``: look, act, or anything else: the shape of its dot."""

    label: str
    value: float | None
    mark: str = ""


def distribution(title: str, bins: Sequence[tuple[str, float, float]]) -> str:
    """Shares of (label, reference, current) bins: the reference as a broad bar, the current one narrow over it."""
    bottom = 74
    top = _nice(max([_LEAST, *(share for _, *shares in bins for share in shares)]))
    plot = _HEIGHT - _TOP - bottom
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(bins))
    parts = _axis(top, plot, _percent)
    for i, (label, reference, current) in enumerate(bins):
        x = _LEFT + i * step
        words = escape(f"{label}: reference {_share(reference)}, current {_share(current)}")
        bars = "".join(
            f'<rect class="{kind}" x="{x + step * (1 - width) / 2:.1f}" y="{_TOP + plot * (1 - share / top):.1f}" '
            f'width="{step * width:.1f}" height="{plot * share / top:.1f}"/>'
            for kind, share, width in (("ref", reference, 0.86), ("cur", current, 0.46))
        )
        parts.append(f"<g><title>{words}</title>{bars}</g>")
        parts.append(_tilted(x + step / 2, _HEIGHT - bottom + 12, label))
    return _svg(title, parts)


def timeline(
    title: str,
    points: Sequence[Point],
    *,
    thresholds: Sequence[tuple[str, float]] = (),
    as_share: bool = False,
) -> str:
    """A value over time, with dashed lines at (name, value) thresholds; ``as_share``: in percent."""
    bottom = 34
    known = [point.value for point in points if point.value is not None]
    top = _nice(max([*known, *(1.15 * value for _, value in thresholds), _LEAST]))
    plot, words = _HEIGHT - _TOP - bottom, _percent if as_share else _number
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(points))

    def at(i: int, value: float) -> tuple[float, float]:
        return _LEFT + (i + 0.5) * step, _TOP + plot * (1 - value / top)

    parts = _axis(top, plot, words)
    # Their names at either end, so that they can be read where the lines lie close.
    for (name, value), end in zip(thresholds, ("start", "end"), strict=False):
        y, x = at(0, value)[1], _LEFT + 4 if end == "start" else _WIDTH - _RIGHT
        parts.append(f'<line class="limit {name}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="{end}" x="{x}" y="{y - 4:.1f}">{escape(name)} {words(value)}</text>')
    for run in _runs(points):
        coordinates = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(i, value) for i, value in run))
        parts.append(f'<polyline class="line" points="{coordinates}"/>')
    alone = {i for i, point in enumerate(points) if point.value is not None} - {
        i for run in _runs(points) for i, _ in run
    }
    for i, point in enumerate(points):
        if point.value is not None and (len(points) <= _DOTS or point.mark in ("look", "act") or i in alone):
            said = escape(f"{point.label}: {words(point.value)}")
            parts.append(f"<g><title>{said}</title>{_dot(*at(i, point.value), point.mark)}</g>")
    every = max(1, math.ceil(len(points) / 7))
    for i in range(0, len(points), every):
        parts.append(f'<text class="mid" x="{at(i, 0)[0]:.1f}" y="{_HEIGHT - 12}">{escape(points[i].label)}</text>')
    return _svg(title, parts)


def sparkline(values: Sequence[float | None], limit: float) -> str:
    """A value over time the size of a word, with a line at ``limit``; decoration, its figures stand beside it."""
    top = max([limit, *(value for value in values if value is not None)]) or 1.0
    step = 76 / max(1, len(values) - 1)
    run = " ".join(
        f"{2 + i * step:.0f},{17 - 14 * value / top:.1f}" for i, value in enumerate(values) if value is not None
    )
    y = 17 - 14 * limit / top
    return (
        '<svg class="spark" viewBox="0 0 80 20" aria-hidden="true">'
        f'<line class="limit act" x1="0" x2="80" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<polyline class="line" points="{run}"/></svg>'
    )


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def _axis(top: float, plot: float, words: Callable[[float], str]) -> list[str]:
    parts = []
    for i in range(5):
        y = _TOP + plot * (1 - i / 4)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 6}" y="{y + 4:.1f}">{words(top * i / 4)}</text>')
    return parts


def _tilted(x: float, y: float, label: str) -> str:
    short = label if len(label) <= 15 else label[:14] + "…"
    with suppress(ValueError):  # of a number with many digits, the first ones
        short = f"{float(label):.6g}" if len(short) > 9 and "." in label else short
    return f'<text class="end" transform="translate({x:.1f} {y:.1f}) rotate(-32)">{escape(short)}</text>'


def _dot(x: float, y: float, mark: str) -> str:
    if mark == "act":
        return f'<rect class="dot act" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    if mark == "look":
        corners = f"{x:.1f},{y - 5:.1f} {x - 5:.1f},{y + 4:.1f} {x + 5:.1f},{y + 4:.1f}"
        return f'<polygon class="dot look" points="{corners}"/>'
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'


def _runs(points: Sequence[Point]) -> list[list[tuple[int, float]]]:
    """The points between gaps, where there are two or more."""
    runs: list[list[tuple[int, float]]] = [[]]
    for i, point in enumerate(points):
        if point.value is None:
            runs.append([])
        else:
            runs[-1].append((i, point.value))
    return [run for run in runs if len(run) > 1]


def _nice(value: float) -> float:
    """The next of 1, 2, 4, 5, 8 times a power of ten: quarters of it read well."""
    scale = 10.0 ** math.floor(math.log10(value))
    return next(step * scale for step in (1, 2, 4, 5, 8, 10) if step * scale >= value * (1 - 1e-12))


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _share(share: float) -> str:
    return f"{100 * share:.1f}%"


def _number(value: float) -> str:
    return f"{value:.3g}"
