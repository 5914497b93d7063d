#!/usr/bin/env bash
# Sets up the S3 snapshot mirror inside of Frigate's container: fills ./s3-mirror/ beside docker-compose.yml with the
# service, the patch and all packages, so that the container needs no internet at boot; shows (or adds) the lines for
# docker-compose.yml; backs up state files; and tests the S3 settings before anything is restarted.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
mark='# added by setup_s3_mirror.sh'
dir='' compose='' service='' image='' arch='' python='' action=install apply=no

usage() {
    cat <<'EOF'
Usage: ./setup_s3_mirror.sh [--apply] [options]     fill ./s3-mirror/ and show the lines for docker-compose.yml
       ./setup_s3_mirror.sh --check [options]       test the settings in docker-compose.yml (doctor), change nothing
       ./setup_s3_mirror.sh --uninstall [options]   remove what setup added; state files and the bucket stay

  --apply            add the lines to docker-compose.yml (a backup is kept beside it)
  --dir DIR          the folder with docker-compose.yml (default: this one, or where this script is)
  --compose FILE     the compose file, when it has another name
  --service NAME     Frigate's service in it (default: the one whose image is a Frigate)
  --image IMAGE      Frigate's image (default: the one in the compose file)
  --arch ARCH        amd64 or arm64 (default: as the image, else as this machine)
  --python VERSION   Python in the image (default: as the image, else 3.11)
Run it again after an update: the folder is replaced as a whole, or not at all.
EOF
}

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' green=$'\e[32m' yellow=$'\e[33m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' green='' yellow='' red='' plain=''
fi
step() { printf '%s==>%s %s\n' "$bold" "$plain" "$1"; }
good() { printf '    %s%s%s\n' "$green" "$1" "$plain"; }
warn() { printf '    %s%s%s\n' "$yellow" "$1" "$plain" >&2; }
fail() {
    printf '%s%s%s\n' "$red" "$1" "$plain" >&2
    exit 1
}

parse_options() {
    while (($#)); do
        case $1 in
        --apply) apply=yes ;;
        --check) action=check ;;
        --uninstall) action=uninstall ;;
        --dir | --compose | --service | --image | --arch | --python)
            [[ $# -ge 2 ]] || fail "$1 needs a value; see --help"
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        -h | --help) usage && exit 0 ;;
        *) fail "'$1' is not an option; see --help" ;;
        esac
        shift
    done
}

# -- what is there ---------------------------------------------------------------------------------------------------

find_compose() {
    local folder name
    if [[ -n $compose ]]; then
        [[ -r $compose ]] || fail "There is no compose file $compose."
        compose=$(cd -- "$(dirname -- "$compose")" && pwd -P)/$(basename -- "$compose")
        dir=${dir:-$(dirname -- "$compose")}
        return
    fi
    for folder in ${dir:+"$dir"} "$PWD" "$here" "$here/.."; do
        for name in docker-compose.yml docker-compose.yaml compose.yaml compose.yml; do
            # The example that comes with this script is nobody's installation.
            if [[ -r $folder/$name ]] && ! grep -q 'frigate-s3-mirror example' "$folder/$name"; then
                dir=$(cd -- "$folder" && pwd -P)
                compose=$dir/$name
                return
            fi
        done
        [[ -z $dir ]] || break
    done
    dir=${dir:-$PWD}
    warn "No docker-compose.yml found in $dir; the lines to add are shown. --dir or --compose names another place."
}

# edit ARGUMENTS: the editor of compose files, which needs a Python on this machine.
edit() { python3 "$here/scripts/compose_edit.py" "$@"; }

find_service() {
    local found
    [[ -n $compose ]] || return 0
    if ! command -v python3 >/dev/null; then
        warn "python3 is not on this machine, so $compose is not looked into."
        return 0
    fi
    if found=$(edit describe "$compose" ${service:+--service "$service"}); then
        service=${found%%$'\t'*}
        image=${image:-${found#*$'\t'}}
        good "Frigate is the service '$service' in $compose (image ${image:-not named})"
    else
        compose=''  # the editor said why
    fi
}

compose_command() {
    if docker compose version >/dev/null 2>&1; then
        printf 'docker compose'
    elif command -v docker-compose >/dev/null; then
        printf 'docker-compose'
    else
        return 1
    fi
}

check_docker() {
    if ! command -v docker >/dev/null; then
        warn "docker is not on the PATH: nothing can be learned from the image. Is this the Docker host?"
    elif ! compose_command >/dev/null; then
        warn "Neither 'docker compose' nor 'docker-compose' works; install the compose plugin to start Frigate with it."
    else
        good "Docker and '$(compose_command)' are there"
    fi
}

learn_from_image() {
    local seen
    if [[ -z $arch && -n $image ]] && seen=$(docker image inspect --format '{{.Architecture}}' "$image" 2>/dev/null); then
        arch=$seen
    fi
    if [[ -z $python && -n $image ]] && docker image inspect "$image" >/dev/null 2>&1; then
        python=$(docker run --rm --entrypoint python3 "$image" -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
            2>/dev/null) || python=''
    fi
    arch=${arch:-$(uname -m)}
    case $arch in
    amd64 | x86_64) arch=amd64 ;;
    arm64 | aarch64) arch=arm64 ;;
    *) fail "The mirror has no packages for '$arch'; there are amd64 and arm64 (--arch)." ;;
    esac
    python=${python:-3.11}
    case $python in
    3.[0-9] | 3.10)
        fail "This Frigate's image has Python $python (Frigate 0.15 or older), the mirror needs 3.11. Use the sidecar: docs/install-sidecar.md" ;;
    3.*) good "Packages are for Python $python on $arch" ;;
    *) fail "'$python' is not a Python version; write for example --python 3.11" ;;
    esac
}

# -- the bundle ------------------------------------------------------------------------------------------------------

machine() { if [[ $arch == arm64 ]]; then printf aarch64; else printf x86_64; fi; }

with_host_pip() {
    python3 -m pip --version >/dev/null 2>&1 || return 1
    local minor platforms=(--platform "manylinux2014_$(machine)")
    for minor in {17..36}; do # Frigate's Debian 12 has glibc 2.36; pip wants every tag by its name
        platforms+=(--platform "manylinux_2_${minor}_$(machine)")
    done
    # Without dependencies: the lock file names every one, and those of the host are no concern.
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps \
        --target "$1" --only-binary=:all: "${platforms[@]}" --implementation cp --python-version "$python" --require-hashes --requirement "$here/requirements/runtime.txt"
}

with_uv() {
    command -v uv >/dev/null || return 1
    uv pip install --quiet --target "$1" --only-binary :all: --python-version "$python" --require-hashes \
        --python-platform "$(machine)-manylinux_2_36" --requirement "$here/requirements/runtime.txt"
}

with_image() {
    [[ -n $image ]] && docker image inspect "$image" >/dev/null 2>&1 || return 1
    docker run --rm --entrypoint python3 --user "$(id -u):$(id -g)" --env HOME=/tmp \
        --volume "$here/requirements:/requirements:ro" --volume "$1:/lib-of-mirror" "$image" \
        -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --target /lib-of-mirror --only-binary=:all: \
        --require-hashes --requirement /requirements/runtime.txt
}

fill_lib() {
    local lib=$1 way
    for way in with_host_pip with_uv with_image; do
        rm -rf -- "$lib" && mkdir -p -- "$lib"
        if "$way" "$lib"; then
            good "Packages installed (${way#with_})"
            return 0
        fi
    done
    return 1
}

fill_bundle() {
    local bundle=$dir/s3-mirror fresh=$dir/s3-mirror.new
    [[ -r $here/requirements/runtime.txt && -d $here/src/frigate_s3_mirror ]] ||
        fail "This script must lie in the folder of the mirror, beside requirements/ and src/; $here is not that."
    rm -rf -- "$fresh"
    mkdir -p -- "$fresh/patch" || fail "$dir cannot be written; run this as its owner."
    if ! fill_lib "$fresh/lib"; then
        rm -rf -- "$fresh"
        fail "The packages could not be installed: none of pip, uv and Frigate's image could fetch them (see above). An older ./s3-mirror is as it was."
    fi
    cp -R -- "$here/src/frigate_s3_mirror" "$fresh/lib/"
    rm -rf -- "$fresh/lib/frigate_s3_mirror/demo" "$fresh/lib/bin"
    find "$fresh" -name __pycache__ -type d -prune -exec rm -rf -- {} +
    cp -- "$here/patch/sitecustomize.py" "$fresh/patch/"
    cp -- "$here/entrypoint.sh" "$here/scripts/frigate-s3-mirror" "$fresh/"
    chmod -R a+rX "$fresh"
    chmod a+x "$fresh/entrypoint.sh" "$fresh/frigate-s3-mirror"
    rm -rf -- "$bundle.old"
    [[ ! -e $bundle ]] || mv -- "$bundle" "$bundle.old"
    mv -- "$fresh" "$bundle"
    rm -rf -- "$bundle.old"
    good "$bundle is ready"
}

backup_state() {
    local media cache backup name
    [[ -n $compose ]] || return 0
    media=$(edit mount "$compose" /media/frigate --service "$service") || return 0
    [[ $media == /* ]] || media=$dir/$media
    cache=$media/clips/cache
    backup=$dir/s3-mirror-backups/$(date +%Y%m%d-%H%M%S)
    for name in .s3_uploaded_events .s3_failed_events; do
        [[ -r $cache/$name ]] || continue
        mkdir -p -- "$backup"
        cp -p -- "$cache/$name" "$backup/"
        good "Backed up $cache/$name to $backup"
    done
}

# -- the compose file ------------------------------------------------------------------------------------------------

show_lines() {
    step "Add these lines to ${service:-the Frigate service} in ${compose:-docker-compose.yml} (or run this again with --apply)"
    cat <<EOF

    stop_grace_period: 30s
    volumes:
      - ./s3-mirror:/opt/s3-mirror:ro
    environment:
      - PYTHONPATH=/opt/s3-mirror/patch
      - S3_BUCKET=your-bucket-name
      - S3_ACCESS_KEY=your-access-key-id
      - S3_SECRET_KEY=your-secret-access-key
      - S3_REGION=us-east-1
      # - S3_ENDPOINT_URL=https://minio.example.com:9000   # anything but AWS

EOF
    printf '    Instead of PYTHONPATH you may set  entrypoint: ["/opt/s3-mirror/entrypoint.sh"]  which also checks the folder.\n'
}

apply_lines() {
    local backup
    [[ -n $compose ]] || fail "There is no compose file to change; --compose names it."
    backup=$compose.s3-mirror-backup-$(date +%Y%m%d-%H%M%S)
    cp -p -- "$compose" "$backup"
    if ! edit add "$compose" --service "$service" --mark "$mark"; then
        mv -- "$backup" "$compose"
        show_lines
        exit 1
    fi
    if cmp -s "$compose" "$backup"; then
        rm -- "$backup"
        good "$compose has all the lines already"
    else
        good "Lines added to $compose; as it was: $backup"
        warn "Fill in S3_BUCKET, S3_ACCESS_KEY and S3_SECRET_KEY there: remove the '#' before each."
    fi
}

doctor() {
    local -a command
    if [[ -z $compose ]] || ! grep -q '/opt/s3-mirror' "$compose" || ! grep -Eq '^[^#]*S3_BUCKET' "$compose"; then
        step "The S3 settings are not in the compose file yet. When they are, test them:  ./setup_s3_mirror.sh --check"
        return 0
    fi
    read -ra command <<<"$(compose_command || true)"
    if ((${#command[@]} == 0)); then
        warn "Without docker compose the settings cannot be tested here."
        return 0
    fi
    step "Testing the settings in the container's own environment (doctor)"
    if "${command[@]}" -f "$compose" run --rm --no-deps -T --entrypoint /opt/s3-mirror/frigate-s3-mirror "$service" doctor; then
        good "All is well. Now: $(compose_command) up -d"
    else
        warn "Mend what is marked above, then run ./setup_s3_mirror.sh --check again. Frigate was not touched."
        return 1
    fi
}

uninstall() {
    if [[ -n $compose ]] && grep -qF "$mark" "$compose"; then
        cp -p -- "$compose" "$compose.s3-mirror-backup-$(date +%Y%m%d-%H%M%S)"
        edit remove "$compose" --mark "$mark"
        good "The lines that setup added are gone from $compose"
    elif [[ -n $compose ]] && grep -q '/opt/s3-mirror' "$compose"; then
        warn "Remove the lines with /opt/s3-mirror and S3_ from $compose yourself: setup did not add them."
    fi
    rm -rf -- "$dir/s3-mirror" "$dir/s3-mirror.new" "$dir/s3-mirror.old"
    good "$dir/s3-mirror is gone"
    printf '    Kept: the objects in the bucket, .s3-mirror/ beside the database of Frigate, clips/cache/.s3_*_events.\n'
    printf '    To end: %s up -d\n' "$(compose_command || printf 'docker compose')"
}

main() {
    parse_options "$@"
    step "Looking around"
    check_docker
    find_compose
    find_service
    case $action in
    uninstall) uninstall ;;
    check) doctor ;;
    install)
        learn_from_image
        step "Filling $dir/s3-mirror"
        fill_bundle
        backup_state
        if [[ $apply == yes ]]; then apply_lines; else show_lines; fi
        doctor
        ;;
    esac
}

main "$@"
