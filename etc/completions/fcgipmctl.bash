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
        --context) mapfile -t COMPREPLY < <(compgen -W "http server" -- "$current"); return ;;
    esac
    case $verb in
        "") words="status start stop restart scale apply reload logs events explain ensure request snippet metrics reopen-logs upgrade shutdown --version" ;;
        status)
            [[ $current != -* ]] && ((position >= 0)) && words="$words $(_fcgipmctl_apps "${daemon[@]}")"
            ;;
        start)
            [[ $current != -* ]] && ((position >= 0)) && words="$words $(_fcgipmctl_apps "${daemon[@]}")"
            ;;
        stop)
            [[ $current != -* ]] && ((position >= 0)) && words="$words $(_fcgipmctl_apps "${daemon[@]}")"
            ;;
        restart)
            [[ $current != -* ]] && ((position >= 0)) && words="$words $(_fcgipmctl_apps "${daemon[@]}")"
            ;;
        scale)
            [[ $current != -* ]] && ((position == 0)) && words="$words $(_fcgipmctl_apps "${daemon[@]}")"
            ((position == 1)) && words="$words auto"
            ;;
        reload)
            [[ $current == -* ]] && words="--dry-run --parallel"
            [[ $current != -* ]] && ((position >= 0)) && words="$words $(_fcgipmctl_apps "${daemon[@]}")"
            ;;
        logs)
            [[ $current == -* ]] && words="-f --follow"
            [[ $current != -* ]] && ((position == 0)) && words="$words $(_fcgipmctl_apps "${daemon[@]}")"
            ;;
        events)
            [[ $current == -* ]] && words="-f --follow"
            ;;
        explain)
            [[ $current != -* ]] && ((position == 0)) && words="$words $(_fcgipmctl_apps "${daemon[@]}")"
            ;;
        request)
            [[ $current == -* ]] && words="-v --verbose"
            [[ $current != -* ]] && ((position == 0)) && words="$words $(_fcgipmctl_apps "${daemon[@]}")"
            ;;
        snippet)
            [[ $current == -* ]] && words="--context"
            ((position == 0)) && words="$words nginx lighttpd apache"
            [[ $current != -* ]] && ((position >= 1)) && words="$words $(_fcgipmctl_apps "${daemon[@]}")"
            ;;
    esac
    [[ $current == -* ]] && words="$words -s --socket --json --timeout --no-wait -h --help"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _fcgipmctl fcgipmctl
