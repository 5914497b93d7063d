#!/usr/bin/env bash
# The health of the S3 snapshot mirror, once or live: ./s3_monitor.sh [watch]
# For the container `frigate`, or the one that FRIGATE_CONTAINER names (the sidecar's, too).
# Exit status, for cron and uptime monitors: 0 healthy, 1 degraded, 2 not running.
set -uo pipefail

container=${FRIGATE_CONTAINER:-frigate}
interval=${S3_MONITOR_INTERVAL:-5}

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' green='' red='' plain=''
fi

down() {
    printf '%s%s%s\n' "$red" "$1" "$plain"
    [[ -z ${2:-} ]] || printf '%s\n' "$2"
    exit 2
}

# last_words: what the mirror logged last, for a container that cannot be asked.
last_words() {
    local lines
    lines=$(docker logs --tail 2000 "$container" 2>&1 | grep -E 'S3 (snapshot mirror|Upload|upload)|S3 modules' | tail -n 5) || true
    [[ -z $lines ]] || printf 'Its last lines:\n%s\n' "$lines"
}

check_container() {
    local state
    command -v docker >/dev/null || down "docker is not on the PATH; run this on the Docker host."
    if ! state=$(docker inspect --format '{{.State.Status}} since {{.State.StartedAt}}' "$container" 2>&1); then
        case $state in
        *[Nn]o\ such*) down "There is no container '$container'." "FRIGATE_CONTAINER=name ./s3_monitor.sh names another." ;;
        *) down "Docker does not answer: ${state##*$'\n'}" ;;
        esac
    fi
    case $state in
    running*) printf '%sContainer%s  %s%s%s %s\n' "$bold" "$plain" "$green" "$container" "$plain" "$state" ;;
    *) down "Container '$container' does not run ($state)." "$(last_words)" ;;
    esac
}

# ask ARGUMENTS: the mirror's own command, wherever this container has it.
ask() {
    # shellcheck disable=SC2016  # expanded in the container
    docker exec --env "COLUMNS=${COLUMNS:-$(tput cols 2>/dev/null || echo 80)}" "$@" "$container" sh -c '
        for command in /opt/s3-mirror/frigate-s3-mirror /config/s3-mirror/frigate-s3-mirror; do
            [ -x "$command" ] && exec "$command" status
        done
        command -v frigate-s3-mirror >/dev/null && exec frigate-s3-mirror status
        echo "The mirror is not in this container: /opt/s3-mirror is not mounted; run setup_s3_mirror.sh." >&2
        exit 127'
}

report() {
    local status=0
    local -a terminal=()
    [[ -t 1 ]] && terminal=(--tty --env TERM=xterm-256color)
    check_container
    ask ${terminal[@]+"${terminal[@]}"} || status=$?
    case $status in
    0 | 1 | 2) ;;
    *) down "The mirror in '$container' cannot be asked (exit status $status)." "$(last_words)" ;;
    esac
    return "$status"
}

watch_on() {
    local text
    trap 'printf "\n"; exit 0' INT TERM
    while true; do
        text=$(report 2>&1) || true
        if [[ -t 1 ]]; then printf '\e[H\e[2J'; fi
        printf '%s  (every %s s, Ctrl-C ends)\n%s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$interval" "$text"
        sleep "$interval"
    done
}

case ${1:-} in
'') report ;;
watch) watch_on ;;
-h | --help) sed -n '2,4s/^# //p' "$0" ;;
*) printf "'%s' is not known; use ./s3_monitor.sh or ./s3_monitor.sh watch\n" "$1" >&2 && exit 64 ;;
esac
