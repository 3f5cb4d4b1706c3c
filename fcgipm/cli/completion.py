"""The completion for bash, made from `fcgipm.verbs.VERBS`; ``python -m fcgipm.cli.completion`` prints it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from fcgipm.verbs import VERBS, Apps, Verb

_SHARED: Final = "-s --socket --json --timeout --no-wait -h --help"
_FIRST: Final = {"snippet": "nginx lighttpd apache"}
_LAST: Final = {"scale": "auto"}

_HEAD: Final = """\
# Completion of fcgipmctl for bash.  Made from fcgipm/verbs.py by: python -m fcgipm.cli.completion
# Install it as /usr/share/bash-completion/completions/fcgipmctl, or source it.

_fcgipmctl_apps() {
    # the first column of the table, which is whole where it goes into a pipe
    fcgipmctl "$@" --timeout 1 status 2>/dev/null | { read -r _ && while read -r name _; do echo "$name"; done; }
}

_fcgipmctl() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local verb= words= word i position=0 daemon=()
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            -s | --socket) daemon=(-s "${COMP_WORDS[++i]}") ;;
            --timeout | --context | --parallel) ((++i)) ;;
            -*) ;;
            *) if [[ -z $verb ]]; then verb=$word; else ((++position)); fi ;;
        esac
    done
    case $previous in
        -s | --socket) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
        --timeout | --parallel) return ;;
"""
_MIDDLE: Final = """\
    esac
    case $verb in
        "") words="%s" ;;
"""
_TAIL: Final = """\
    esac
    [[ $current == -* ]] && words="$words %s"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _fcgipmctl fcgipmctl
"""


def script() -> str:
    """Return etc/completions/fcgipmctl.bash."""
    choices = {choice.name: choice for verb in VERBS.values() for choice in verb.choices}
    lines = [
        f'        --{name}) mapfile -t COMPREPLY < <(compgen -W "{" ".join(choice.values)}" -- "$current"); return ;;\n'
        for name, choice in choices.items()
    ]
    middle = _MIDDLE % " ".join([*VERBS, "--version"])
    cases = [line for verb in VERBS.values() for line in _case(verb)]
    return "".join([_HEAD, *lines, middle, *cases, _TAIL % _SHARED])


def _case(verb: Verb) -> Iterator[str]:
    """Yield the branch of one verb: its options, and what its positional arguments can be."""
    options = [text for switch in verb.switches for text in switch.spellings]
    options += [f"--{choice.name}" for choice in verb.choices]
    options += [f"--{number.name}" for number in verb.numbers]
    steps = []
    if options:
        steps.append(f'[[ $current == -* ]] && words="{" ".join(options)}"')
    if verb.first is not None:
        steps.append(f'((position == 0)) && words="$words {_FIRST[verb.name]}"')
    if verb.apps is not Apps.NONE:
        many = verb.apps in (Apps.SOME, Apps.OPTIONAL)
        place = f"position >= {int(verb.first is not None)}" if many else "position == 0"
        steps.append(f'[[ $current != -* ]] && (({place})) && words="$words $(_fcgipmctl_apps "${{daemon[@]}}")"')
    if verb.name in _LAST:
        steps.append(f'((position == 1)) && words="$words {_LAST[verb.name]}"')
    if steps:
        yield f"        {verb.name})\n"
        yield from (f"            {step}\n" for step in steps)
        yield "            ;;\n"


if __name__ == "__main__":
    sys.stdout.write(script())
