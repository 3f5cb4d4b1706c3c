"""The alerts for Prometheus: correct, made of metrics that exist, and each of them goes off."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from harness.components import need

from fcgipm.manager.telling.families import FAMILIES, PREFIX
from fcgipm.verbs import VERBS

RULES = Path(__file__).parents[2] / "etc/prometheus/fcgipm.rules.yml"
TEXT = RULES.read_text()
WELL = """
      - {series: 'up{job="fcgipm", instance="h"}', values: '1x30'}
      - {series: 'fcgipm_app_state{app="a", state="failed"}', values: '0x30'}
      - {series: 'fcgipm_app_state{app="a", state="backoff"}', values: '0x30'}
      - {series: 'fcgipm_exits_total{app="a", reason="signal"}', values: '3x30'}
      - {series: 'fcgipm_listen_queue_connections{app="a"}', values: '100x30'}
      - {series: 'fcgipm_listen_queue_limit_connections{app="a"}', values: '100x30'}
      - {series: 'fcgipm_listen_queue_oldest_seconds{app="a"}', values: '4x30'}
      - {series: 'fcgipm_listen_queue_abandoned_total{app="a"}', values: '7x30'}
      - {series: 'fcgipm_spawn_denied_total{app="a", reason="max-processes"}', values: '2x30'}
      - {series: 'fcgipm_spawn_denied_total{app="a", reason="init-start-delay"}', values: '0+1x30'}
      - {series: 'fcgipm_connections_cut_total{app="a"}', values: '1x30'}
      - {series: 'fcgipm_generations_total{app="a", result="published"}', values: '0+1x30'}
      - {series: 'fcgipm_generations_total{app="a", result="given-up", reason="superseded"}', values: '0+1x30'}
      - {series: 'fcgipm_requests_total{app="a", class="2xx"}', values: '0+1000x30'}
      - {series: 'fcgipm_requests_total{app="a", class="5xx"}', values: '0+10x30'}
      - {series: 'fcgipm_reports_dropped_total{reason="overflow"}', values: '0x30'}
      - {series: 'fcgipm_config_last_reload_successful', values: '1x30'}
      - {series: 'fcgipm_external_reachable{app="old"}', values: '1x30'}
"""
ILL = """
      - {series: 'up{job="fcgipm", instance="h"}', values: '0x30'}
      - {series: 'fcgipm_app_state{app="a", state="failed"}', values: '1x30'}
      - {series: 'fcgipm_app_state{app="a", state="backoff"}', values: '1x30'}
      - {series: 'fcgipm_exits_total{app="a", reason="signal"}', values: '0+1x30'}
      - {series: 'fcgipm_listen_queue_connections{app="a"}', values: '101x30'}
      - {series: 'fcgipm_listen_queue_limit_connections{app="a"}', values: '100x30'}
      - {series: 'fcgipm_listen_queue_oldest_seconds{app="a"}', values: '6x30'}
      - {series: 'fcgipm_listen_queue_abandoned_total{app="a"}', values: '0+1x30'}
      - {series: 'fcgipm_spawn_denied_total{app="a", reason="max-processes"}', values: '0+1x30'}
      - {series: 'fcgipm_connections_cut_total{app="a"}', values: '0+1x30'}
      - {series: 'fcgipm_generations_total{app="a", result="given-up", reason="probe"}', values: '0+1x30'}
      - {series: 'fcgipm_requests_total{app="a", class="2xx"}', values: '0+1000x30'}
      - {series: 'fcgipm_requests_total{app="a", class="5xx"}', values: '0+100x30'}
      - {series: 'fcgipm_reports_dropped_total{reason="overflow"}', values: '0+1x30'}
      - {series: 'fcgipm_config_last_reload_successful', values: '0x30'}
      - {series: 'fcgipm_external_reachable{app="old"}', values: '0x30'}
"""


def alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", TEXT)


def firing(place: Path, series: str) -> set[str]:
    """Return which alerts go off after 20 minutes of *series*, one value a minute."""
    file = place / "test.yml"
    file.write_text(
        f"rule_files: ['{RULES}']\ntests:\n  - interval: 1m\n    input_series:{series}"
        '    promql_expr_test:\n      - expr: count by (alertname) (ALERTS{alertstate="firing"})\n'
        "        eval_time: 20m\n        exp_samples: []\n"
    )
    done = subprocess.run([need("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return set(re.findall(r'alertname=\\?"(\w+)\\?"', done.stdout + done.stderr))


def test_they_are_clean_for_promtool() -> None:
    done = subprocess.run([need("promtool"), "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


def test_they_are_made_of_metrics_that_exist() -> None:
    named = set(re.findall(rf"\b{PREFIX}(\w+)", TEXT))
    assert len(named) > 10
    assert named - FAMILIES.keys() == set()


def test_what_they_tell_to_type_exists() -> None:
    typed = set(re.findall(r"`fcgipmctl (\w+)", TEXT))
    assert {"explain", "logs", "events", "status"} <= typed
    assert typed - VERBS.keys() == set()


def test_each_goes_off_where_something_is_wrong_and_none_where_all_is_well(place: Path) -> None:
    assert firing(place, ILL) == set(alerts())
    assert firing(place, WELL) == set()
