"""What docs/guide/trading-day.md shows, works."""

import re
from pathlib import Path

from sampan.cluster.trading_day import manifests

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guide" / "trading-day.md").read_text()
MANIFESTS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: {rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 9
  metrics:
  - type: External
    external:
      metric: {name: gateway_requests_per_second, selector: {matchLabels: {service: web}}}
      target: {type: AverageValue, averageValue: "16"}
"""


def test_the_code_works() -> None:
    """As it stands there, on a Deployment that is scaled by 16 requests a second."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(compile(code, "trading-day.md", "exec"), {"MANIFESTS": MANIFESTS})


def test_the_files_are_those_of_the_example() -> None:
    """Each of the manifests has its row."""
    folder = ROOT / "examples" / "trading-day"
    assert re.findall(r"\| `(\S+\.yaml)` \|", GUIDE) == sorted(file.name for file in folder.glob("*.yaml"))
    assert {obj["kind"] for obj in manifests.read(folder)} >= {"Rollout", "HTTPRoute", "CronHorizontalPodAutoscaler"}
