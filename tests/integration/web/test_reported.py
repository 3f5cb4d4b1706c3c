"""What each web server tells fcgipm of finished requests, beside its own logs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.daemon import FCGIPMCTL, Daemon
from harness.waiting import until
from integration.web.applications import DEMO_SCRIPT, demo, script
from integration.web.servers import WebServer

Starter = Callable[..., Daemon]
Web = Callable[..., WebServer]

FLEXIBLE = ("min-processes = 0", "max-processes = 2")


def metrics(daemon: Daemon, family: str) -> dict[str, float]:
    """Return the values of one family by their labels, as they are written."""
    status, body = daemon.http("GET", "/v1/metrics")
    assert status == 200
    found = re.findall(rf"^fcgipm_{family}(?:{{(.*)}})? (.*)$", body.decode(), re.MULTILINE)
    return {labels: float(value) for labels, value in found if float(value)}


def counted(daemon: Daemon, number: int) -> dict[str, float]:
    """Wait for so many reports, that none was refused, and return the requests by application and class."""
    until(lambda: metrics(daemon, "reports_total").get("", 0) >= number, within=15, what=f"{number} reports")
    assert metrics(daemon, "reports_total") == {"": number}
    assert metrics(daemon, "reports_dropped_total") == {}
    return metrics(daemon, "requests_total")


def test_requests_are_reported_of_whom_it_helps_and_of_nobody_else(start_daemon: Starter, web: Web, www: Path) -> None:
    (www / "static.txt").write_text("static")
    daemon = start_daemon(demo("flexible", *FLEXIBLE) + demo("fixed"), wait="answering")
    site = web(daemon)

    assert site.page("/fixed/ping").text == "pong\n"
    assert site.page("/static.txt").text == "static"
    assert [site.get(f"/flexible/{page}").status for page in ("ping", "ping", "a%20b|c%22", "status?code=500")] == [
        200, 200, 404, 500,
    ]  # fmt: skip
    assert counted(daemon, 4) == {
        'app="flexible",class="2xx"': 2, 'app="flexible",class="4xx"': 1, 'app="flexible",class="5xx"': 1,
    }  # fmt: skip


def test_the_time_of_a_request_is_reported(start_daemon: Starter, web: Web) -> None:
    daemon = start_daemon(demo("demo", *FLEXIBLE), wait="answering")
    site = web(daemon)

    site.page("/demo/ping")
    site.page("/demo/slow?seconds=0.5")
    counted(daemon, 2)
    assert metrics(daemon, "request_seconds_sum")['app="demo"'] == pytest.approx(0.5, abs=20)  # no milliseconds
    assert metrics(daemon, "request_seconds_sum")['app="demo"'] >= 0.5


def test_requests_of_a_script_are_its_own(start_daemon: Starter, web: Web, place: Path) -> None:
    scripts = place / "scripts"
    (scripts / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        script(scripts / name, DEMO_SCRIPT)
    daemon = start_daemon(f'[dynamic]\nroots = [{{ path = "{scripts}", listen = true }}]\n', wait="answering")
    until(lambda: len([app for app in daemon.status()["apps"] if app["kind"] == "dynamic"]) == 2, what="both listen")
    site = web(daemon)

    assert site.get("/scripts/a/x/y%20z").status == 404
    assert site.page("/scripts/deep/b/ping").text == "pong\n"
    assert counted(daemon, 2) == {
        'app="scripts/a",class="4xx"': 1, 'app="scripts/deep/b",class="2xx"': 1,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_the_users_own_log_goes_on_as_it_was(start_daemon: Starter, kind: str, server: Web) -> None:
    daemon = start_daemon(demo("flexible", *FLEXIBLE) + demo("fixed"), wait="answering")
    site = server(kind, daemon)

    for app in ("flexible", "fixed"):
        site.page(f"/{app}/ping")
    counted(daemon, 1)
    log = site.directory / "access.log"
    until(lambda: log.read_text().count("/ping") == 2, what="both are in the log")


def test_nginx_goes_on_reporting_to_another_daemon(start_daemon: Starter, server: Web) -> None:
    apps = demo("demo", *FLEXIBLE)
    daemon = start_daemon(apps, wait="answering")
    site = server("nginx", daemon)
    site.page("/demo/ping")
    counted(daemon, 1)
    daemon.stop()
    assert site.get("/demo/ping").status == 502

    again = start_daemon(apps, wait="answering", directory=daemon.directory)
    until(lambda: site.get("/demo/ping").status == 200, what="it is served again")
    until(lambda: metrics(again, "reports_total"), what="a report has come")


def test_of_a_request_that_nginx_had_to_ask_for_the_second_way_is_reported(
    start_daemon: Starter, server: Web, place: Path
) -> None:
    (place / "scripts").mkdir()
    script(place / "scripts" / "a", DEMO_SCRIPT)
    daemon = start_daemon(f'[dynamic]\nroots = [{{ path = "{place}/scripts" }}]\n', wait="answering")
    site = server("nginx", daemon)

    site.page("/scripts/a/ping")
    assert counted(daemon, 1) == {'app="scripts/a",class="2xx"': 1}
    assert metrics(daemon, "request_queue_seconds_count") == {'app="scripts/a"': 1}


RECIPES = Path(__file__).parents[3] / "docs" / "webservers.md"


def recipe(language: str, word: str, **meant: str) -> str:
    """Return the block of the page about web servers that has *word* in it, with what is *meant* in place of words."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", RECIPES.read_text(), re.MULTILINE | re.DOTALL)
    found: str
    (found,) = (block for block in blocks if word in block)
    for name, value in meant.items():
        found = found.replace({"log": "/var/log/nginx/shop.log", "runtime": "/run/fcgipm"}.get(name, name), value)
    return found


def test_a_server_of_nginx_with_a_log_of_its_own_reports_if_it_says_so(
    start_daemon: Starter, server: Web, place: Path
) -> None:
    daemon = start_daemon(demo("demo", *FLEXIBLE), wait="answering")
    log = place / "shop.log"
    site = server("nginx", daemon, more=recipe("nginx", "shop.log", log=str(log), runtime=str(daemon.runtime)))

    site.page("/demo/ping")
    counted(daemon, 1)
    until(lambda: "/demo/ping" in log.read_text(), what="it is in the log, too")


def test_lighttpd_may_write_both_logs(start_daemon: Starter, server: Web, place: Path) -> None:
    daemon = start_daemon(demo("blog", *FLEXIBLE), wait="answering")
    log = place / "access.log"
    log.touch()
    log.chmod(0o666)  # it is lighttpd's user who writes it
    report = f"{FCGIPMCTL.removesuffix('ctl')}-report -s {daemon.runtime}/report.sock"
    both = recipe("lighttpd", "tee -a", **{"/var/log/lighttpd/access.log": str(log), "fcgipm-report": report})
    snippet = place / "fcgipm.conf"
    snippet.write_text(daemon.ctl("snippet", "lighttpd").stdout)
    site = server("lighttpd", daemon, include=f'include "{snippet}"\n{both}')

    site.page("/blog/ping")
    assert counted(daemon, 1) == {'app="blog",class="2xx"': 1}
    until(lambda: "GET /blog/ping" in log.read_text(), what="it is in the log, too")
