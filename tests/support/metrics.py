"""What OpenMetrics text says, and that it is such."""

from __future__ import annotations

import re

#: The lines of the OpenMetrics text format that gauges need, after the ABNF of the specification (1.0, "Text Format").
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(
    rf'({NAME})\{{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\}} (-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)'
)
METADATA = re.compile(rf"# (TYPE|UNIT|HELP) ({NAME}) (.+)")


def parsed(text: str) -> dict[str, dict[str, float]]:
    """{metric: {labels: value}}; asserts what the specification asks of the order and of the metadata."""
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    found: dict[str, dict[str, float]] = {}
    family, kinds = "", list[str]()
    for line in lines[:-2]:
        if metadata := METADATA.fullmatch(line):
            kind, name, value = metadata.groups()
            if name != family:
                assert name not in found, "a family's lines stand together"
                family, kinds = name, []
                found[name] = {}
            assert kind not in kinds
            assert not found[name], "metadata come before samples"
            assert kind != "UNIT" or name.endswith(f"_{value}")
            assert kind != "TYPE" or value == "gauge"
            kinds.append(kind)
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] == family
            assert sample[2] not in found[family], "no sample comes twice"
            found[family][sample[2]] = float(sample[3])
    return found
