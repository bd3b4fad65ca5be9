"""The report as one HTML file: nothing is loaded from anywhere, and nothing needs a script to be read.

Every view, feature and service is a section of its own, shown when the address names it (CSS `:target`); the script
filters and sorts tables. What is written into the page is escaped by Jinja, but for our own style, script and charts.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path

import jinja2
from markupsafe import Markup

from feature_warehouse.monitoring import charts
from feature_warehouse.monitoring.charts import Point
from feature_warehouse.monitoring.freshness import age_text
from feature_warehouse.monitoring.profiles import Profile
from feature_warehouse.monitoring.report import Report
from feature_warehouse.registry.feature import view_id
from feature_warehouse.wire.keyspace import split_field

#: What stands where there is no value.
NOTHING = "\N{EN DASH}"

_TEMPLATES = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": _age,
        "utc": _utc,
        "size": _size,
        "money": _money,
        "day": _day,
        "share": _share,
        "number": _number,
        "psi": _psi,
    }
    environment.globals |= {
        "distribution_chart": distribution_chart,
        "psi_chart": psi_chart,
        "null_chart": null_chart,
        "psi_sparkline": psi_sparkline,
        "field_view": lambda field: view_id(*split_field(field)),
        "style": Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        "script": Markup((_TEMPLATES / "report.js").read_text(encoding="utf-8")),
    }
    return _dense(environment.get_template("report.html.jinja").render(report=report))


def _dense(html: str) -> str:
    """Without the template's indentation, but in what is preformatted: of a thousand features it is half the page."""
    parts = re.split(r"(<pre.*?</pre>)", html, flags=re.DOTALL)
    return "".join(part if part.startswith("<pre") else re.sub(r"\n\s*", "\n", part) for part in parts).strip() + "\n"


def distribution_chart(profile: Profile) -> Markup:
    """Reference and newest period, bin by bin."""
    title = f"{profile.feature}: reference and current distribution"
    return Markup(charts.distribution(title, [(each.label, each.reference, each.current) for each in profile.bins]))


def psi_chart(profile: Profile) -> Markup:
    """PSI by period, with both thresholds."""
    points = [
        Point(_label(period.start, profile.every), period.psi, period.verdict or "") for period in profile.periods
    ]
    thresholds = [("look", profile.look), ("act", profile.act)]
    return Markup(charts.timeline(f"{profile.feature}: PSI over time", points, thresholds=thresholds))


def null_chart(profile: Profile) -> Markup:
    """The share of NULLs by period."""
    points = [Point(_label(period.start, profile.every), period.null_share) for period in profile.periods]
    return Markup(charts.timeline(f"{profile.feature}: share of NULLs over time", points, as_share=True))


def psi_sparkline(profile: Profile) -> Markup:
    """PSI by period, small."""
    return Markup(charts.sparkline([period.psi for period in profile.periods], profile.act))


def _label(moment: datetime, every: str) -> str:
    return f"{moment:%m-%d %H:%M}" if every == "hour" else f"{moment:%m-%d}"


def _age(age: object) -> str:
    return NOTHING if age is None else age_text(age)  # type: ignore[arg-type]


def _utc(moment: object) -> str:
    if moment is None:
        return NOTHING
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    assert isinstance(moment, datetime)
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC".replace(":00 UTC", " UTC")


def _day(moment: datetime, every: str) -> str:
    """A period by its first day, or hour; UTC like all the report."""
    return f"{moment:%Y-%m-%d %H:%M}" if every == "hour" else f"{moment:%Y-%m-%d}"


def _size(size: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size:,.0f} B"


def _money(sum_: float) -> str:
    return f"{sum_:,.2f}" if sum_ >= 0.005 or not sum_ else "<0.01"


def _share(share: float) -> str:
    return f"{100 * share:.1f}%"


def _psi(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.3f}"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.4g}"
