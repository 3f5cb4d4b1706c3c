"""The trial of the installed program: a process that says whether it could go on in place of the one that runs."""

from __future__ import annotations

import ast
import os
import pickle
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from harness.daemon import FCGIPM, configuration
from harness.waiting import ended, readable

import fcgipm
from fcgipm import wire
from fcgipm.config.definitions import to_definition
from fcgipm.config.load import load
from fcgipm.keeper.keeping import carried, state
from fcgipm.keeper.keeping.carried import Carried
from fcgipm.keeper.keeping.program import Program
from fcgipm.keeper.keeping.trial import Trial, TrialError, TrialPassed

INSTALLED = Program((sys.executable, FCGIPM), os.environ)


@pytest.fixture
def what(place: Path) -> Carried:
    """Give what a daemon that runs one application would carry over."""
    config = place / "apps.toml"
    config.write_text(configuration(place / "run", '[app.blog]\ncommand = ["/bin/cat"]\n', ""))
    left = state.State(boot_id="b", name_space=1, program="0.0.9", pid=1, started_at=1, started_unix=1.0)
    return Carried(
        state=state.encode(left).decode(),
        path=str(config),
        foreground=True,
        daemon=to_definition(load(str(config), environ={}, euid=os.geteuid()).config.daemon),
        nofile=(1024, 4096),
        made_directory=True,
        upgraded=wire.Upgraded(count=1, before="0.0.9", at=1, at_unix=1.0, instances=0, pause=None),
    )


def tried(what: Carried, program: Program = INSTALLED) -> TrialPassed:
    """Return what the trial of *program* gives."""
    before = os.listdir("/proc/self/fd")
    trial = Trial(program, carried.encode(what))
    try:
        readable(trial.fileno())
        while not trial.feed():
            readable(trial.fileno())
        return trial.result()
    finally:
        os.waitpid(-1, 0)
        assert len(os.listdir("/proc/self/fd")) <= len(before) + 1, "only the configuration is left open"


def refusal(what: Carried, program: Program = INSTALLED) -> str:
    """Return why *program* cannot go on."""
    with pytest.raises(TrialError) as refused:
        tried(what, program)
    return str(refused.value)


def says(place: Path, script: str) -> Program:
    """Return a program that is a shell script."""
    path = place / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    return Program(("/bin/sh", str(path)), os.environ)


def test_a_program_that_reads_all_tells_its_version_and_leaves_the_configuration(what: Carried) -> None:
    passed = tried(what)
    loaded = pickle.loads(carried.kept(passed.loaded))
    assert passed.version == fcgipm.__version__
    assert loaded.path == what.path
    assert list(loaded.config.applications) == ["blog"]


def test_what_needs_a_restart_stays_as_it_is(what: Carried, place: Path) -> None:
    Path(what.path).write_text(configuration(place / "elsewhere", '[app.blog]\ncommand = ["/bin/cat"]\n', ""))
    loaded = pickle.loads(carried.kept(tried(what).loaded))
    assert loaded.config.daemon.runtime_dir == str(place / "run")
    assert "runtime_dir" in loaded.pending


def test_a_table_of_another_version_is_read_as_far_as_it_is_known(what: Carried) -> None:
    os.close(tried(replace(what, daemon={**what.daemon, "an-option-of-long-ago": 1})).loaded)


def test_a_mistake_in_the_configuration_is_why_not(what: Carried) -> None:
    Path(what.path).write_text("[app.blog]\ncomand = 1\n")
    assert "comand" in refusal(what)


def test_a_state_of_a_later_program_is_why_not(what: Carried) -> None:
    later = what.state.replace(f'"format":{state.FORMAT}', '"format":999')
    assert "a newer fcgipm has written it: format 999" in refusal(replace(what, state=later))
    assert "a newer fcgipm has written it: format 999" in refusal(replace(what, format=999))


def test_a_program_that_is_not_there_is_why_not(what: Carried) -> None:
    gone = Program(("/nowhere/python3", FCGIPM), os.environ)
    with pytest.raises(TrialError, match="cannot be tried: No such file"):
        Trial(gone, carried.encode(what))
    assert "can't open file" in refusal(what, Program((sys.executable, "/nowhere/fcgipm"), os.environ))


def test_a_program_that_knows_no_trial_is_why_not(what: Carried, place: Path) -> None:
    assert "usage: fcgipm start FILE" in refusal(what, says(place, "echo 'usage: fcgipm start FILE' >&2; exit 2"))
    assert "it has ended without an answer" in refusal(what, says(place, "exit 0"))
    assert "cannot go on" in refusal(what, says(place, "head -c 1000000 /dev/zero"))


def test_a_trial_that_takes_too_long_is_ended(what: Carried, place: Path) -> None:
    told = place / "pid"
    trial = Trial(says(place, f"echo $$ > {shlex.quote(str(told))}; echo; exec sleep 60"), carried.encode(what))
    readable(trial.fileno())
    assert "has not said within 5 s" in str(trial.give_up())
    ended(int(told.read_text()))
    os.waitpid(-1, 0)


def test_nothing_is_inherited_but_what_is_meant(what: Carried, place: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, False)
    told = place / "open"
    code = (
        "import os, sys\n"
        "numbers = [number for number in range(256) if os.path.exists(f'/proc/self/fd/{number}')]\n"
        "masks = [line for line in open('/proc/self/status') if line.startswith(('SigBlk', 'SigPnd'))]\n"
        f"open({str(told)!r}, 'w').write(repr((numbers, masks)))\n"
    )
    try:
        refusal(what, Program((sys.executable, "-I", "-S", "-c", code), os.environ))
    finally:
        os.close(reader)
        os.close(writer)
    numbers, masks = ast.literal_eval(told.read_text())
    assert numbers == [0, 1, 2, 3, 4]
    assert {line.split()[1] for line in masks} == {"0000000000000000"}
