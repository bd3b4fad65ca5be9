"""A shop whose features drift, for the tests of what says so: two days of reference, and a third that is different."""

from __future__ import annotations

from pathlib import Path

from tests.support.shop import Shop

SHOP_YAML = """
models:
  - name: visits
    config:
      materialized: table
      contract: {enforced: true}
      meta:
        feature_view: {entity: customer, join_keys: [customer], event_timestamp: event_at, available_at: none}
    columns:
      - {name: customer, data_type: bigint}
      - {name: event_at, data_type: timestamptz}
      - {name: minutes, data_type: double}
      - {name: pages, data_type: bigint, config: {meta: {drift: {look: 0.2, act: 0.9}}}}
      - {name: plan, data_type: varchar}
    versions: [{v: 1}]
  - name: visits_drift
    data_tests:
      - feature_warehouse.feature_drift: {name: all_features}
      - feature_warehouse.feature_drift: {name: never_fails, config: {severity: warn}}
      - feature_warehouse.feature_drift: {name: fails_early, config: {where: "feature = 'plan'", error_if: ">= 1"}}
      - feature_warehouse.feature_drift: {name: to_look_at, config: {where: "feature in ('plan', 'pages')"}}
      - feature_warehouse.feature_drift: {name: without_drift, config: {where: "feature = 'pages'"}}
      - feature_warehouse.feature_drift: {name: an_earlier_day, config: {where: "period_start < '2026-03-03'"}}
exposures:
  - name: churn_v1
    type: ml
    owner: {name: Growth, email: growth@example.com}
    depends_on: ["ref('visits', v=1)"]
    config:
      meta:
        feature_service:
          name: churn
          version: 1
          features: [{view: visits.v1, features: [minutes, pages], prefix: last_}]
          request: {hour: bigint}
          on_demand: [{name: is_night, data_type: boolean, expression: hour < 6}]
"""

#: Two days of reference; on the third `minutes` are others, `pages` a little, and some plans.
VISITS = """
select
    visit::bigint as customer,
    timestamptz '2026-03-01 00:00:00+00' + to_hours(24 * day) + to_seconds(visit) as event_at,
    (visit % 100 + if(day = 2, 30, 0))::double as minutes,
    (visit % 10 + if(day = 2 and visit % 20 in (0, 3, 6), 1, 0))::bigint as pages,
    if(day = 2 and visit % 5 < 2, 'gold', if(visit % 2 = 0, 'basic', 'gold')) as plan
from range(4) as days(day), range(1000) as visits(visit)
where day < 3 or visit < 50
"""

#: What a model was trained on, and what it was served: the features under the service's names, at the time of each row.
ASKED = """
select
    event_at as asked_at,
    minutes as last_minutes,
    pages as last_pages,
    visit_hour < {hour} as is_night,
    visit_hour
from (select *, extract(hour from event_at) + customer % 24 as visit_hour from {{{{ ref("visits", v=1) }}}})
"""

PERIOD = 'start="2026-03-01T00:00:00Z", end="2026-03-03T00:00:00Z"'
OF_CHURN = 'timestamp="asked_at", service="churn.v1"'

SHOP = {
    "models/shop.yml": SHOP_YAML,
    "models/visits_v1.sql": VISITS,
    "models/visits_reference.sql": f"{{{{ feature_warehouse.drift_reference(ref('visits', v=1), {PERIOD}) }}}}",
    "models/visits_drift.sql": (
        "{{ feature_warehouse.drift_profile(ref('visits', v=1), reference=ref('visits_reference')) }}"
    ),
    "models/training.sql": "{{ config(materialized='table') }}" + ASKED.format(hour=6),
    "models/served_log.sql": "{{ config(materialized='table') }}" + ASKED.format(hour=10),
    "models/churn_reference.sql": (
        f"{{{{ feature_warehouse.drift_reference(ref('training'), {PERIOD}, {OF_CHURN}) }}}}"
    ),
    "models/churn_drift.sql": (
        f"{{{{ feature_warehouse.drift_profile(ref('served_log'), ref('churn_reference'), {OF_CHURN}) }}}}"
    ),
    "models/log_reference.sql": (
        f"{{{{ feature_warehouse.drift_reference(ref('served_log'), {PERIOD}, timestamp='asked_at') }}}}"
    ),
}


def shop(folder: Path) -> Shop:
    """The shop at the end of its third day, not built yet."""
    return Shop(folder, SHOP, more='vars: {feature_warehouse_now: "2026-03-04T00:00:00Z"}')
