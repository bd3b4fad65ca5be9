"""dbt's run_results.json: when each model was last built, and how that ended.

dbt keeps the results of its last command alone, so a model that this command did not build is not in it: nothing is
known of its last run then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

#: The commands of dbt that build models; `compile` and `show` call theirs a success too.
_BUILDING = {"build", "run", "retry", "clone"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRun:
    """One model in dbt's last run; ``ended_at`` in real time, whatever clock the project has."""

    ended_at: datetime
    succeeded: bool


def read_runs(path: Path) -> dict[str, ModelRun]:
    """{unique id: its last run} from run_results.json; {} when there is none, or it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
        if content["args"]["which"] not in _BUILDING:
            return {}
        ended = content["metadata"]["generated_at"]
        return {each["unique_id"]: _run(each, ended) for each in content["results"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _run(result: dict[str, Any], ended: str) -> ModelRun:
    """``ended``: when the whole command did; a model that was skipped has no time of its own."""
    times = [step["completed_at"] for step in result["timing"] if step.get("completed_at")]
    moment = max(times, default=ended)
    return ModelRun(
        ended_at=datetime.fromisoformat(moment.replace("Z", "+00:00")), succeeded=result["status"] == "success"
    )
