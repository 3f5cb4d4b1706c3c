"""What the manager is told of the configuration is all of it, but no value of the environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

from fcgipm.codec import to_json
from fcgipm.config.definitions import application, daemon, external
from fcgipm.config.load import load
from fcgipm.keeper.supervising.handover import definitions_of

TEXT = """
[fcgipm]
runtime-dir = "{0}/run"
log-ring = 0
[app.one]
command = ["/bin/sleep", "1"]
processes = 4
flush = true
ready-timeout = "500ms"
uri = [".php"]
document-root = "/srv"
[app.one.initial-env]
PASSWORD = "geheim"
[app.two]
command = ["/bin/sleep", "1"]
[external.far]
host = ["10.0.0.1:9000"]
"""


def test_definitions_are_complete_again_at_the_other_end(tmp_path: Path) -> None:
    file = tmp_path / "apps.toml"
    file.write_text(TEXT.format(tmp_path))
    loaded = load(str(file), environ={}, euid=os.geteuid())

    told = json.loads(json.dumps(to_json(definitions_of(loaded))))

    one, two = (application(item) for item in told["applications"])
    assert one.initial_env == {"PASSWORD": ""}
    assert two == loaded.config.applications["two"]
    assert one.processes == 4
    assert one.flush
    assert daemon(told["daemon"]) == loaded.config.daemon
    assert external(told["externals"][0]) == loaded.config.externals["far"]
    assert "geheim" not in json.dumps(told)
    assert len(json.dumps(told["applications"][1])) < 1000
