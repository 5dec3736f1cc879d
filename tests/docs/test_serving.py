"""docs/serving.md explains the contents of deploy/."""

from __future__ import annotations

import yaml

from ..conftest import ROOT


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        assert rule["alert"] in page
