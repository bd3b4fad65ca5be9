"""Charts: bars and lines where the numbers say, and texts that stay texts."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_warehouse.monitoring.charts import Point, distribution, sparkline, timeline

SHARES = st.floats(0, 1)


def drawn(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def bars(svg: str, kind: str) -> list[float]:
    """The heights; every bar stands on the axis."""
    found = [bar.attrib for bar in drawn(svg).iter("rect") if bar.attrib["class"] == kind]
    assert all(float(bar["y"]) + float(bar["height"]) == pytest.approx(166, abs=0.11) for bar in found)
    return [float(bar["height"]) for bar in found]


@given(st.lists(st.tuples(st.text(max_size=30), SHARES, SHARES), min_size=1, max_size=25))
def test_every_bin_has_two_bars_as_high_as_its_shares(bins: list[tuple[str, float, float]]) -> None:
    svg = distribution("visits & <more>", [(re.sub(r"[^ -~]", "", label), before, now) for label, before, now in bins])
    for kind, shares in (("ref", [each[1] for each in bins]), ("cur", [each[2] for each in bins])):
        heights = bars(svg, kind)
        assert len(heights) == len(shares)
        for one, other, high, low in zip(shares, shares[1:], heights, heights[1:], strict=False):
            assert abs(high * other - low * one) < 0.2, "heights are in proportion"
    assert drawn(svg).attrib["aria-label"] == "visits & <more>"


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("0.30000000000000004", "0.3"),
        ("10.357019999", "10.357"),
        ("-1.7976931348623157e+308", "-1.79769e+308"),
        ("1234567890.5", "1.23457e+09"),
        ("4.60312", "4.60312"),
        ("1234567890", "1234567890"),
        ("2013-01-31 10:30:00.5+00", "2013-01-31 10:…"),
        ("a manufacturer. of planes", "a manufacturer…"),
    ],
)
def test_the_label_of_a_bin_is_short_and_its_words_are_whole(label: str, shown: str) -> None:
    svg = drawn(distribution("visits", [(label, 0.5, 0.5)]))
    assert [text.text for text in svg.iter("text")][-1] == shown
    assert [title.text for title in svg.iter("title")] == [f"{label}: reference 50.0%, current 50.0%"]


@given(st.lists(st.none() | st.floats(0, 50), min_size=1, max_size=70))
def test_a_line_goes_through_what_is_known_and_stops_at_gaps(values: list[float | None]) -> None:
    svg = drawn(
        timeline("PSI", [Point(f"01-{i:02}", value) for i, value in enumerate(values)], thresholds=[("act", 0.25)])
    )
    corners = [line.attrib["points"].split() for line in svg.iter("polyline")]
    runs = [len(run) for run in "".join(" " if value is None else "x" for value in values).split()]
    assert [len(line) for line in corners] == [length for length in runs if length > 1]
    dots = len(list(svg.iter("circle")))
    assert dots == (sum(runs) if len(values) <= 14 else runs.count(1)), "what stands alone is seen too"
    heights = [float(corner.split(",")[1]) for line in corners for corner in line]
    assert all(16 <= height <= 206.1 for height in heights), "inside the axes"


def test_thresholds_lie_where_their_values_are() -> None:
    svg = drawn(timeline("PSI", [Point("a", 0.25), Point("b", 0.1)], thresholds=[("look", 0.1), ("act", 0.25)]))
    lines = {
        line.attrib["class"]: float(line.attrib["y1"]) for line in svg.iter("line") if "limit" in line.attrib["class"]
    }
    (run,) = (line.attrib["points"].split() for line in svg.iter("polyline"))
    act, look = (float(corner.split(",")[1]) for corner in run)
    assert lines == pytest.approx({"limit look": look, "limit act": act}, abs=0.1)


def test_verdicts_differ_in_shape() -> None:
    points = [Point("a", 0.05, "stable"), Point("b", 0.2, "look"), Point("c", 0.9, "act")]
    shapes = [mark.tag for mark in drawn(timeline("PSI", points)).iter() if "dot" in mark.attrib.get("class", "")]
    assert shapes == ["circle", "polygon", "rect"]


@pytest.mark.parametrize("values", [[], [None], [0.0], [0.3, None, 9.0]])
def test_a_sparkline_of_anything_is_one(values: list[float | None]) -> None:
    line = drawn(sparkline(values, 0.25)).find("polyline")
    assert line is not None
    assert len(line.attrib["points"].split()) == len([value for value in values if value is not None])
