"""The sentence of a refusal: each cause with the features that it is about, no longer than a person reads."""

from __future__ import annotations

import pytest

from feature_warehouse.gate.judging import in_words
from feature_warehouse.sql.changes import Change


def changes(names: int, causes: int) -> list[Change]:
    return [Change(f"f{i}", "value change", (f"cause {i % causes}",)) for i in range(names)]


@pytest.mark.parametrize(
    ("names", "causes", "said"),
    [
        (2, 1, "f0, f1: cause 0"),
        (13, 1, "f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12: cause 0"),
        (14, 1, "f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11 and 2 features more: cause 0"),
        (4, 2, "f0, f2: cause 0; f1, f3: cause 1"),
    ],
)
def test_a_cause_stands_once_with_its_features(names: int, causes: int, said: str) -> None:
    assert in_words(changes(names, causes)) == said


def test_of_the_causes_of_one_feature_the_first_are_said() -> None:
    causes = tuple(f"cause {i}" for i in range(9))
    said = "f: cause 0, cause 1, cause 2, cause 3, cause 4, cause 5 and 3 causes more"
    assert in_words([Change("f", "value change", causes)]) == said


def test_of_many_causes_the_first_ten_are_said() -> None:
    said = in_words(changes(300, 100)).split("; ")
    assert len(said) == 11
    assert said[0] == "f0, f100, f200: cause 0"
    assert said[-1] == "and 270 features more (`syncer diff`)"
