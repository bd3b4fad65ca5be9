"""The report: what it says is what the tables say, and a real browser shows it without a network or a complaint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from feature_warehouse.monitoring.freshness import Offline, Online, judge
from feature_warehouse.monitoring.page import render
from feature_warehouse.monitoring.profiles import Bin, Period, Profile
from feature_warehouse.monitoring.report import FeaturePage, Report, ServicePage, ViewPage
from feature_warehouse.monitoring.status import Status
from feature_warehouse.project.catalog import Consumer, Relation
from feature_warehouse.registry.document import Registry
from feature_warehouse.registry.feature import Feature, FeatureView
from feature_warehouse.wire.cost import Memory, Size, costs, raising
from feature_warehouse.wire.marker import Marker
from tests.support.browser import Browser, find_browser
from tests.support.facts import service, view
from tests.support.shop import Shop
from tests.support.wanted import want

AT = "2026-01-19T00:00:00Z"

REFERENCE = """
{{ feature_warehouse.drift_reference(ref("visits", v=1), start="2026-01-01T00:00:00Z", end="2026-01-08T00:00:00Z") }}
"""
PROFILE = """
{{ feature_warehouse.drift_profile(ref("visits", v=1), reference=ref("drift_reference_visits_v1"), period="week") }}
"""

#: Visits of 300 customers in three weeks: as in the reference, the same again, and three times as many of 250.
VISITS = """
select
    cast(i as bigint) as customer_id,
    timestamptz '2026-01-01 00:00:00+00' + to_days(week * 7) + to_minutes(i) as event_at,
    cast(if(week = 2, 3, 1) * (i * 7919 % 300) as bigint) as visits_7d
from range(300) as customers(i), range(3) as weeks(week)
where week < 2 or i < 250
"""


class Html(HTMLParser):
    """A page's sections with their texts, its ids and links, and whether each tag is closed that has to be."""

    VOID = frozenset("meta link input br".split())

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.sections: dict[str, str] = {}
        self._open: list[tuple[str, str]] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "a":
            self.links.append(str(given["href"]))
        elif given.get("src") or (given.get("href") and not str(given["href"]).startswith("data:")):
            self.loaded.append(tag)
        if tag not in self.VOID:
            self._open.append((tag, str(given.get("id") or "")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass  # in SVG

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for tag, id_ in self._open:
            if tag == "section":
                self.sections[id_] = f"{self.sections.get(id_, '')} {data}"

    def said(self, section: str) -> str:
        return " ".join(self.sections[section].split())


def report(shop: Shop, *arguments: str) -> Html:
    shop.syncer("report", "-o", "report.html", *arguments)
    return Html((shop.folder / "report.html").read_text())


@pytest.fixture(scope="module")
def drifting_shop(built_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose visits are profiled; they change in the last week. Not to be changed, but copied."""
    made = built_shop.copied(tmp_path_factory.mktemp("drifting") / "shop", built_shop.redis_url)
    made.write("models/visits_v1.sql", VISITS)
    made.write("models/drift_reference_visits_v1.sql", REFERENCE)
    made.write("models/drift_visits_v1.sql", PROFILE)
    made.replace("dbt_project.yml", "2026-01-10T00:00:00Z", AT)
    made.replace("models/churn_v2.yml", "{name: Growth, email", '{name: "Growth <b>& Co</b>", email')
    made.dbt("run", "--select", "visits+")
    made.syncer("register", "--accept-fix", "visits that drift")
    return made


@pytest.fixture
def drifting(drifting_shop: Shop, tmp_path: Path, redis_url: str) -> Shop:
    return drifting_shop.copied(tmp_path / "shop", redis_url)


# --- what it says -----------------------------------------------------------------------------------------------------


def test_every_figure_is_that_of_the_tables(drifting: Shop) -> None:
    drifting.syncer("sync")
    page = report(drifting)
    status = drifting.json("status")
    rows = drifting.sql("select psi, verdict, row_count, null_share, mean from drift_visits_v1 order by period_start")
    psi, verdict, count, nulls, mean = rows[-1]
    assert verdict == "act"

    feature = page.said("feature/visits.v1/visits_7d")
    assert f"PSI {psi:,.3f} in the week from 2026-01-12 00:00 UTC ({count:,} rows, against 300 of" in feature
    assert f"NULL {100 * nulls:.1f}%" in feature
    assert f"mean {mean:,.4g}" in feature
    reference = drifting.sql("select label, row_count / reference_rows from drift_reference_visits_v1 order by bin")
    (counts,) = drifting.sql("select counts from drift_visits_v1 order by period_start desc limit 1")[0]
    for (label, share), now in zip(reference, counts, strict=True):
        assert f"{label} {100 * share:.1f}% {100 * now / count:.1f}%" in feature
    for row in rows:
        assert f"{row[0]:,.3f}" in feature, "every period is there"

    overview = page.said("overview")
    stale = [each["view"] for each in status["views"] if each["state"] == "stale"]
    assert f"{len(stale)} of 3 views stale" in overview
    assert "1 of 8 features drifting, 1 to act on" in overview
    assert f"visits_7d of visits.v1: PSI {psi:,.3f} in the week" in overview
    for each in status["views"]:
        for reason in each["reasons"]:
            assert re.sub(r"built it .*? ago", "", reason) in re.sub(r"built it .*? ago", "", overview)
    memory = status["cost"]["memory"]
    assert f"{memory / 1000:,.1f} kB in Redis" in overview


def test_there_is_a_page_for_each_thing_and_every_link_leads_somewhere(drifting: Shop) -> None:
    drifting.syncer("sync")
    page = report(drifting)
    assert len(page.ids) == len(set(page.ids))
    assert {link.partition("#")[2] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert {link for link in page.links if not link.startswith(("#", "mailto:"))} == set()
    assert page.loaded == [], "nothing comes from elsewhere"
    assert {id_ for id_ in page.sections if "/" in id_} == {
        *(f"view/{each}.v1" for each in ("orders", "stock", "visits")),
        *(f"feature/orders.v1/{each}" for each in ("orders_30d", "spent", "plan", "basket", "remarks")),
        *(f"feature/stock.v1/{each}" for each in ("in_stock", "counted_on")),
        "feature/visits.v1/visits_7d",
        *(f"service/{each}" for each in ("churn@1", "churn@2", "transfer@1")),
    }
    lineage = page.said("feature/visits.v1/visits_7d").partition("Lineage")[2]
    assert (
        "feature view visits.v1 visits_7d Redis customer hash, field visits:1 service churn@1 service churn@2"
        in lineage
    )
    assert "models/visits_v1.sql" in lineage
    assert " Which rows it has is decided by" not in page.said("feature/stock.v1/in_stock")
    assert "range(300) as customers(i)" in lineage
    assert "churn_v2" in page.said("service/churn@2")
    assert "on demand: amount / spent" in page.said("service/churn@2")


def test_what_people_write_is_text_and_no_markup(drifting: Shop) -> None:
    evil = "<script>alert(1)</script>"
    drifting.replace(
        "models/visits.yml",
        "data_type: bigint}\n    versions",
        f'data_type: bigint, description: "{evil}"}}\n    versions',
    )
    drifting.replace("models/churn_v2.yml", "    type: ml\n", '    type: ml\n    url: "javascript:alert(1)"\n')
    drifting.replace("models/transfer.yml", "    type: ml\n", '    type: ml\n    url: "https://example.com/transfer"\n')
    drifting.dbt("parse")
    drifting.sql("update drift_reference_visits_v1 set label = '<i>' || label || '\"' where bin = 3")
    drifting.sql("update drift_visits_v1 set maximum = repeat('long', 100)")
    drifting.syncer("sync")
    drifting.syncer("report", "-o", "report.html")
    text = (drifting.folder / "report.html").read_text()
    assert evil not in text
    assert "<i>" not in text
    assert "longlonglong" in text
    assert "long" * 30 not in text
    assert {link for link in Html(text).links if link[0] != "#"} >= {"https://example.com/transfer"}
    assert not [link for link in Html(text).links if not link.startswith(("#", "https://", "mailto:"))]
    assert Html(text).said("feature/visits.v1/visits_7d").count(evil) == 1
    assert "Growth <b>& Co</b>" in Html(text).said("service/churn@2")


def test_the_syncs_and_their_differences_are_told_failures_too(drifting: Shop) -> None:
    assert "No sync from this machine is on record" in report(drifting).said("syncs")
    drifting.syncer("sync")
    drifting.sql("delete from visits_v1 where customer_id = 7")
    drifting.syncer("sync")
    drifting.sql("delete from stock_v1")
    assert drifting.try_syncer("sync").exit_code == 1
    said = report(drifting).said("syncs")
    assert "visits.v1 2026-01-19 00:00 UTC 0 s 2026-01-15 04:09 UTC 299 complete" in said
    held, second, first = re.split(r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)? UTC (?=failed|2026-01-19 00:00 UTC \d)", said)[
        1:
    ]
    assert "stock.v1 is held: the latest-value view of stock.v1 is empty" in held
    assert " 0 1 visits.v1 +0 −1" in second
    assert "visits.v1 +300 −0" in first


def test_what_cannot_be_read_is_said_and_the_rest_is_there(drifting: Shop) -> None:
    drifting.syncer("sync")
    drifting.sql("drop table drift_visits_v1")
    page = report(drifting)
    assert "Not known: " in page.said("overview")
    assert "drift_visits_v1" in page.said("overview")
    assert "No drift profile has this feature by itself." in page.said("feature/visits.v1/visits_7d")
    drifting.redis_url = "redis://127.0.0.1:1/0"
    page = report(drifting)
    assert "there is no Redis at 127.0.0.1:1" in page.said("overview")
    assert "unknown" in page.said("view/visits.v1")
    drifting.database.rename(drifting.folder / "away")
    assert "there is no warehouse" in report(drifting).said("overview")


def test_a_project_without_drift_tables_and_syncs_has_a_report(shop: Shop) -> None:
    found = json.loads(shop.syncer("report", "--json"))
    assert found["path"] == str(shop.folder / "target" / "features.html")
    assert (found["views"], found["features"]) == (3, 8)
    assert found["bytes"] == len((shop.folder / "target" / "features.html").read_bytes())
    assert "never completely synced" in Html((shop.folder / "target" / "features.html").read_text()).said("overview")


# --- how it shows -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    binary = find_browser()
    want("browser", found=binary is not None)
    assert binary is not None
    made = Browser(binary)
    yield made
    made.close()


SHOWN = "[...document.querySelectorAll('.page')].filter(page => page.offsetParent).map(page => page.id)"


def test_a_browser_shows_it(drifting: Shop, browser: Browser, tmp_path: Path) -> None:
    drifting.syncer("sync")
    report(drifting)
    url = f"file://{drifting.folder}/report.html"
    browser.problems.clear()
    browser.look()
    browser.open(url)
    assert browser.do(SHOWN) == ["overview"]
    browser.open(f"{url}#feature/visits.v1/visits_7d")
    browser.until(SHOWN, ["feature/visits.v1/visits_7d"])
    browser.until("document.title.split(' ')[0]", "visits_7d")
    charts = browser.do(
        "[...document.querySelectorAll(':target svg[role=img]')].map(svg => [svg.getAttribute('aria-label'), "
        "svg.getBoundingClientRect().height > 100, svg.querySelectorAll('rect, polyline').length])"
    )
    assert [(name.partition(": ")[2], tall) for name, tall, _ in charts] == [
        ("reference and current distribution", True),
        ("PSI over time", True),
        ("share of NULLs over time", True),
    ]
    assert charts[0][2] == 2 * len(drifting.sql("select bin from drift_reference_visits_v1"))
    limits = "[...document.querySelectorAll(':target .limit')].filter(each => each.closest('.chart')).length"
    assert browser.do(limits) == 2
    browser.open(f"{url}#look-at")
    browser.until(SHOWN, ["overview"])  # a heading inside a page shows the page
    assert browser.problems == []


def test_it_can_be_used_from_the_keyboard(drifting: Shop, browser: Browser) -> None:
    report(drifting)
    browser.problems.clear()
    browser.look()
    browser.open("about:blank")
    browser.open(f"file://{drifting.folder}/report.html")
    names = []
    for _ in range(3):
        browser.press("Tab")
        names.append(browser.do("document.activeElement.textContent"))
    assert names == ["Skip to the overview", "Overview", "Features"]
    browser.press("Enter")
    browser.until(SHOWN, ["features"])
    browser.until("document.activeElement.id", "features")
    browser.until("document.querySelector('nav [aria-current=page]').textContent", "Features")
    browser.press("Tab")
    assert browser.do("document.activeElement.type") == "search"
    shown = "[...document.querySelectorAll('#all-features tbody tr')].filter(row => !row.hidden).length"
    browser.do(
        "document.activeElement.value = 'orders churn@2'; document.activeElement.dispatchEvent(new Event('input'))"
    )
    assert browser.do(shown) == browser.do("parseInt(document.querySelector('output').textContent)")
    browser.press("Tab")
    while browser.do("document.activeElement.textContent") != "PSI":
        browser.press("Tab")
    for order in ("ascending", "descending"):
        browser.press("Enter")
        browser.until("document.activeElement.closest('th').getAttribute('aria-sort')", order)
    assert browser.do("document.querySelector('#all-features tbody th').textContent") == "visits_7d", "the highest PSI"
    assert browser.problems == []


def test_it_follows_the_person_s_colours_window_and_printer(drifting: Shop, browser: Browser) -> None:
    report(drifting)
    url = f"file://{drifting.folder}/report.html#feature/visits.v1/visits_7d"
    colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    browser.problems.clear()
    found = []
    for dark in (False, True):
        browser.look(dark=dark)
        browser.open(url)
        found.append(browser.do(colours))
    (light_paper, light_ink), (dark_paper, dark_ink) = ([_brightness(each) for each in pair] for pair in found)
    assert light_paper > 250 > 60 > light_ink
    assert dark_paper < 40 < 200 < dark_ink
    browser.look(width=360, height=700)
    assert browser.do("document.documentElement.scrollWidth") <= 360, "only tables and charts scroll sideways"
    browser.look(dark=True, media="print")
    assert _brightness(browser.do(colours)[0]) == 255, "paper is white"
    assert browser.do("getComputedStyle(document.querySelector('header')).display") == "none"
    assert browser.pdf().startswith(b"%PDF")
    assert browser.problems == []


def _brightness(colour: str) -> float:
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 3


def test_a_thousand_features_can_be_used(browser: Browser, tmp_path: Path) -> None:
    text = render(large(views=50, features=20, periods=31))
    assert len(text.encode()) < 22_000_000
    path = tmp_path / "large.html"
    path.write_text(text)
    browser.problems.clear()
    browser.look()
    browser.open(f"file://{path}")
    assert browser.do("document.querySelectorAll('#all-features tbody tr').length") == 1000
    browser.open(f"file://{path}#features")
    seconds = browser.do(
        "(() => { const began = performance.now(); const input = document.querySelector('input'); "
        "input.value = 'view_07'; input.dispatchEvent(new Event('input')); "
        "document.body.offsetHeight; return (performance.now() - began) / 1000 })()"
    )
    assert seconds < 20, "some milliseconds for each feature"
    assert browser.do("document.querySelector('output').textContent") == "20 of 1000"
    browser.open(f"file://{path}#feature/view_49.v1/feature_19")
    browser.until(SHOWN, ["feature/view_49.v1/feature_19"])
    assert browser.problems == []


@pytest.mark.parametrize(("lines", "times"), [(400, 4), (900, 1)])
def test_a_long_definition_stands_on_the_view_s_page_alone(lines: int, times: int) -> None:
    """Else a view of many features, which has a line for each, grows with their square."""
    made = large(views=1, features=3, periods=2)
    (page,) = made.views
    relation = replace(page.relation, sql="f(x),\n" * lines)
    text = render(replace(made, views=(replace(page, relation=relation),)))
    assert text.count("f(x),\n" * lines) == times
    assert all("models/view_00.sql" in Html(text).said(f"feature/view_00.v1/feature_0{i}") for i in range(3))


NOW = datetime(2026, 2, 1, tzinfo=timezone.utc)


def large(*, views: int, features: int, periods: int) -> Report:
    """A report of many features, each drifting in its own way."""
    registry = Registry("shop", {each.id: each for each in (_view(i, features) for i in range(views))})
    sizes = {id_: Size(rows=10**6, key_bytes=3 * 10**7, message_bytes=2 * 10**8) for id_ in registry.views}
    found = costs(registry, sizes, Memory())
    status = Status(
        as_of=NOW,
        stands=False,
        views=tuple(_fresh(each) for each in registry.views.values()),
        markers={},
        costs=tuple(found),
        raising=raising(registry, sizes, Memory()),
        retired=(),
        offline_unknown=None,
        online_unknown=None,
    )
    consumer = Consumer(name="m", label="m", description="", owner="Growth", email="", url="", maturity="")
    return Report(
        project="shop",
        target="dev",
        namespace="shop_dev",
        address="127.0.0.1:6379/0",
        made_at=NOW,
        status=status,
        per_gb=5.0,
        views=tuple(
            ViewPage(
                view=each,
                relation=_relation(each),
                freshness=fresh,
                cost=cost,
                features=tuple(
                    FeaturePage(
                        name=feature.name,
                        type=feature.type,
                        number=feature.number,
                        description="What it means, in a sentence of the usual length.",
                        profile=_profile(each.id, feature.name, i, periods),
                        cost=cost.features[i],
                        columns={"raw_orders": ["amount"]},
                        row_columns={},
                    )
                    for i, feature in enumerate(each.features)
                ),
                services=("churn@1",),
                versions=(each,),
                upstream=(),
            )
            for each, fresh, cost in zip(registry.views.values(), status.views, found, strict=True)
        ),
        services=(ServicePage(service=service("churn"), consumer=consumer, asked={}),),
        syncs=[],
        trouble=(),
    )


def _view(number: int, features: int) -> FeatureView:
    numbered = tuple(Feature(f"feature_{i:02}", "double", i + 2) for i in range(features))
    return replace(view(f"view_{number:02}"), features=numbered)


def _fresh(of: FeatureView) -> Any:
    offline, online = (
        Offline(newest_available_at=NOW),
        Online(marker=Marker(entity="customer", state="done", as_of=NOW)),
    )
    return judge(of, served=True, built=None, offline=offline, online=online, as_of=NOW, real_now=NOW)


def _relation(of: FeatureView) -> Relation:
    return Relation(
        unique_id=of.id, name=of.id, kind="model", path=f"models/{of.name}.sql", description="", sql="select 1\n" * 60,
        columns={}, parents=(), relation=None, drift=None,
    )  # fmt: skip


def _profile(source: str, feature: str, number: int, periods: int) -> Profile:
    return Profile(
        source=source,
        source_type="feature_view",
        feature=feature,
        every="day",
        look=0.1,
        act=0.25,
        periods=tuple(
            Period(
                start=NOW - timedelta(days=periods - i),
                rows=10**6,
                null_share=0.01,
                distinct=4711,
                minimum="0",
                maximum="100",
                mean=50.5,
                median=50.0,
                psi=None if i == 3 else 0.013 * (number + i % 3),
                verdict=None if i == 3 else "act" if number > 18 else "look" if number > 7 else "stable",
            )
            for i in range(periods)
        ),
        bins=tuple(Bin(label=f"{10 * i} to {10 * i + 10}", reference=0.1, current=0.08 + 0.004 * i) for i in range(13)),
        reference_start=NOW - timedelta(days=60),
        reference_end=NOW - timedelta(days=30),
        reference_rows=10**7,
    )
