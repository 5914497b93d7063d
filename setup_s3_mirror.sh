#!/usr/bin/env bash
# Sets up the S3 snapshot mirror inside of Frigate's container: fills ./s3-mirror/ beside docker-compose.yml with the
# service, the patch and all packages, so that the container needs no internet at boot; shows (or adds) the lines for
# docker-compose.yml; backs up state files; and tests the S3 settings before anything is restarted.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
mark='# added by setup_s3_mirror.sh'
dir='' compose='' service='' image='' arch='' python='' action=install apply=no
compose_files=()
marker=.made-by-setup_s3_mirror
work=''

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

# find_compose: the files that compose itself would read, in its order (compose_files), and why these.
find_compose() {
    local folder
    [[ -z $dir || -d $dir ]] || fail "There is no folder $dir; make it, or name another with --dir."
    if [[ -n $compose ]]; then
        [[ -f $compose && -r $compose ]] || fail "There is no compose file $compose."
        compose=$(cd -- "$(dirname -- "$compose")" && pwd -P)/$(basename -- "$compose")
        dir=$(cd -- "${dir:-$(dirname -- "$compose")}" && pwd -P)
        [[ $dir == "$(dirname -- "$compose")" ]] ||
            warn "./s3-mirror in $compose means the folder beside it, and --dir names another: $dir"
        compose_files=("$compose")
        return
    fi
    for folder in ${dir:+"$dir"} "$PWD" "$here" "$here/.."; do
        if named_by_variable "$folder" || named_by_rule "$folder"; then
            compose=${compose_files[0]}
            dir=$(dirname -- "$compose")
            return
        fi
        [[ -z $dir ]] || break
    done
    dir=$(cd -- "${dir:-$PWD}" && pwd -P)
    [[ $apply == no ]] || fail "No compose file found in $dir to add the lines to; --dir or --compose names another place."
    warn "No docker-compose.yml found in $dir; --dir or --compose names another place."
}

# named_by_variable FOLDER: take the files that COMPOSE_FILE names there, from the environment or from .env.
named_by_variable() {
    local folder=$1 names=${COMPOSE_FILE:-} origin='the environment' name
    local -a parts
    if [[ -z $names && -r $folder/.env ]]; then
        names=$(sed -n 's/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}COMPOSE_FILE[[:space:]]*=[[:space:]]*//p' "$folder/.env" | tail -n 1)
        names=${names//[$'\r"'\']/}
        origin=$folder/.env
    fi
    [[ -n $names ]] || return 1
    IFS=${COMPOSE_PATH_SEPARATOR:-:} read -ra parts <<<"$names"
    for name in "${parts[@]}"; do
        [[ $name == /* ]] || name=$folder/$name
        [[ -f $name && -r $name ]] || fail "COMPOSE_FILE in $origin names $name, which is not there; mend it, or name the file with --compose."
        compose_files+=("$(cd -- "$(dirname -- "$name")" && pwd -P)/$(basename -- "$name")")
    done
    good "COMPOSE_FILE in $origin names the compose files: ${compose_files[*]}"
}

# is_example FOLDER NAME: whether it is the example that comes with this script, which is nobody's installation.
is_example() {
    [[ $(cd -- "$1" && pwd -P) == "$here" ]] && grep -q 'frigate-s3-mirror example' "$1/$2"
}

# named_by_rule FOLDER: take the file that compose prefers there, and the override that it adds to it.
named_by_rule() {
    local folder=$1 name unused='' names=(compose.yaml compose.yml docker-compose.yml docker-compose.yaml)
    if [[ $(compose_command) == docker-compose && $(docker-compose version --short 2>/dev/null) == 1.* ]]; then
        names=(docker-compose.yml docker-compose.yaml compose.yml compose.yaml)
    fi
    for name in "${names[@]}"; do
        if [[ -f $folder/$name && -r $folder/$name ]] && ! is_example "$folder" "$name"; then
            if ((${#compose_files[@]} == 0)); then
                compose_files=("$(cd -- "$folder" && pwd -P)/$name")
            else
                unused+=" $name"
            fi
        fi
    done
    ((${#compose_files[@]})) || return 1
    [[ -z $unused ]] ||
        warn "Compose reads ${compose_files[0]##*/} and not$unused, for that name goes first; --compose names another one."
    for name in compose.override.yml compose.override.yaml docker-compose.override.yml docker-compose.override.yaml; do
        if [[ -f $folder/$name && -r $folder/$name ]]; then
            compose_files+=("$(cd -- "$folder" && pwd -P)/$name")
            break
        fi
    done
}

# edit ARGUMENTS: the editor of compose files, which needs a Python on this machine.
edit() { PYTHONDONTWRITEBYTECODE=1 python3 "$here/scripts/compose_edit.py" "$@"; }

find_service() {
    local found file error=''
    ((${#compose_files[@]})) || return 0
    if ! command -v python3 >/dev/null; then
        [[ $apply == no ]] || fail "python3 is needed to change $compose; install it, or add the lines by hand (without --apply they are shown)."
        warn "python3 is not on this machine, so $compose is not looked into."
        return 0
    fi
    for file in "${compose_files[@]}"; do
        if found=$(edit describe "$file" ${service:+--service "$service"} 2>&1); then
            compose=$file
            service=${found%%$'\t'*}
            image=${image:-${found#*$'\t'}}
            good "Frigate is the service '$service' in $compose (image ${image:-not named})"
            return 0
        fi
        error=${error:-$found}
    done
    [[ $apply == no && $action == install && -z $service ]] || fail "$error"
    warn "$error"
    compose=''
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

# plain_pip ARGUMENTS: pip install for a folder of its own, whatever the user's pip.conf and PIP_ variables say of the place.
plain_pip() (
    unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_CONSTRAINT PIP_REQUIREMENT PIP_EDITABLE PIP_PLATFORM PIP_ABI PIP_PYTHON PIP_DRY_RUN
    export PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore
    exec python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --no-user --prefix '' "$@"
)

with_host_pip() {
    python3 -m pip --version >/dev/null 2>&1 || return 1
    local minor platforms=(--platform "manylinux2014_$(machine)")
    for minor in {17..36}; do # Frigate's Debian 12 has glibc 2.36; pip wants every tag by its name
        platforms+=(--platform "manylinux_2_${minor}_$(machine)")
    done
    # Without dependencies: the lock file names every one, and those of the host are no concern.
    plain_pip --target "$1" --only-binary=:all: "${platforms[@]}" --implementation cp --python-version "$python" \
        --require-hashes --requirement "$here/requirements/runtime.txt"
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
        -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --no-user --target /lib-of-mirror --only-binary=:all: \
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

# is_own FOLDER: whether setup made it. Older versions left no marker, but nothing else than these names, either.
is_own() {
    local path
    [[ -d $1 && ! -L $1 ]] || return 1
    [[ ! -f $1/$marker ]] || return 0
    for path in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        [[ -e $path || -L $path ]] || continue
        case ${path##*/} in
        lib | patch | entrypoint.sh | frigate-s3-mirror) ;;
        *) return 1 ;;
        esac
    done
}

refuse_foreign_bundle() {
    local bundle=$dir/s3-mirror
    [[ ! -e $bundle && ! -L $bundle ]] || is_own "$bundle" ||
        fail "$bundle is not what setup made (or is a link), so it is left alone; move it away, then run this again."
    [[ -w $dir ]] || fail "$dir cannot be written; run this as its owner."
}

# end_work: clear the workplace, and put the old folder back where the new one has not come. Runs at every end.
end_work() {
    [[ -n $work && -f $work/$marker ]] || return 0
    [[ -e $dir/s3-mirror || ! -d $work/old ]] || mv -- "$work/old" "$dir/s3-mirror"
    rm -rf -- "$work"
}

begin_work() {
    local stale
    for stale in "$dir"/.s3-mirror-setup.*; do # of a run that was killed
        if [[ -f $stale/$marker && ! -L $stale ]] && ! kill -0 "${stale##*.}" 2>/dev/null; then
            work=$stale
            end_work
        fi
    done
    work=$dir/.s3-mirror-setup.$$
    if ! { mkdir -- "$work" && : >"$work/$marker"; }; then fail "$dir cannot be written; run this as its owner."; fi
    trap end_work EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

fill_bundle() {
    local bundle=$dir/s3-mirror fresh
    begin_work
    fresh=$work/new
    mkdir -p -- "$fresh/patch"
    if ! fill_lib "$fresh/lib"; then
        fail "The packages could not be installed: none of pip, uv and Frigate's image could fetch them (see above). An older ./s3-mirror is as it was."
    fi
    cp -R -- "$here/src/frigate_s3_mirror" "$fresh/lib/"
    rm -rf -- "$fresh/lib/frigate_s3_mirror/demo" "$fresh/lib/bin"
    find "$fresh" -name __pycache__ -type d -prune -exec rm -rf -- {} +
    cp -- "$here/patch/sitecustomize.py" "$fresh/patch/"
    cp -- "$here/entrypoint.sh" "$here/scripts/frigate-s3-mirror" "$fresh/"
    : >"$fresh/$marker"
    chmod -R a+rX "$fresh"
    chmod a+x "$fresh/entrypoint.sh" "$fresh/frigate-s3-mirror"
    [[ ! -e $bundle ]] || mv -- "$bundle" "$work/old"
    mv -- "$fresh" "$bundle"
    end_work
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
    local lines
    step "Add these lines to ${service:-the Frigate service} in ${compose:-docker-compose.yml} (or run this again with --apply)"
    if [[ -z $compose ]] || ! lines=$(edit lines "$compose" ${service:+--service "$service"} 2>/dev/null); then
        lines='stop_grace_period: 30s
volumes:
  - ./s3-mirror:/opt/s3-mirror:ro
environment:
  - PYTHONPATH=/opt/s3-mirror/patch
  - S3_BUCKET=your-bucket-name
  - S3_ACCESS_KEY=your-access-key-id
  - S3_SECRET_KEY=your-secret-access-key
  - S3_REGION=us-east-1
  - S3_ENDPOINT_URL=https://minio.example.com:9000   # anything but AWS'
    fi
    lines=${lines:-(none: they are all there)}
    printf '\n    %s\n\n' "${lines//$'\n'/$'\n'    }"
    printf '    Instead of PYTHONPATH you may set  entrypoint: ["/opt/s3-mirror/entrypoint.sh"]  which also checks the folder.\n'
}

# asking: the options that let the editor ask compose itself, where it is there.
asking() {
    local command
    command=$(compose_command) || command=''
    questions=(--docker "$command" --all-files "${compose_files[@]}")
}

check_lines_can_be_added() {
    [[ $apply == no ]] || edit add "$compose" --service "$service" --mark "$mark" --dry-run ||
        fail "Nothing was changed. Without --apply this fills the folder and leaves the compose file to you."
}

apply_lines() {
    local said
    asking
    said=$(edit add "$compose" --service "$service" --mark "$mark" "${questions[@]}") || exit 1
    while IFS= read -r line; do good "$line"; done <<<"$said"
}

# doctor: tell what is not filled in, else let the mirror's own doctor try the settings in the container's environment.
doctor() {
    local missing='' status=0 file
    local -a command named=()
    if ((${#compose_files[@]} == 0)) || [[ -z $compose ]]; then
        [[ $action == install ]] || fail "There is no compose file to check; --compose names it."
        step "When the S3 settings are in the compose file, test them:  ./setup_s3_mirror.sh --check"
        return 0
    fi
    asking
    if command -v python3 >/dev/null; then
        missing=$(edit unfilled "$compose" --service "$service" "${questions[@]}") || status=$?
        ((status == 0 || status == 3)) || fail "The settings in $compose cannot be read; see above."
    fi
    if [[ -n $missing ]]; then
        step "Fill in the S3 settings of the service '$service' in $compose, then test them:  ./setup_s3_mirror.sh --check"
        while IFS= read -r line; do warn "$line"; done <<<"$missing"
        [[ $action == install ]]
        return
    fi
    read -ra command <<<"$(compose_command || true)"
    if ((${#command[@]} == 0)); then
        warn "Without docker compose the settings cannot be tested here; run this on the Docker host."
        [[ $action == install ]]
        return
    fi
    [[ -n $service ]] || fail "Without python3 Frigate's service cannot be found; name it with --service."
    for file in "${compose_files[@]}"; do named+=(-f "$file"); done
    step "Testing the settings in the container's own environment (doctor)"
    if "${command[@]}" "${named[@]}" run --rm --no-deps -T --entrypoint /opt/s3-mirror/frigate-s3-mirror "$service" doctor; then
        good "All is well. Now: $(compose_command) up -d"
    else
        warn "Mend what is marked above, then run ./setup_s3_mirror.sh --check again. Frigate was not touched."
        return 1
    fi
}

# remove_lines FILE: take the marked lines out of it; whatever of the mirror the user wrote himself stays.
remove_lines() {
    local said
    if grep -qF "$mark" "$1"; then
        command -v python3 >/dev/null ||
            fail "python3 is needed to change $1; install it, or remove the lines that end in '$mark' yourself."
        said=$(edit remove "$1" --mark "$mark") || fail "Nothing was removed."
        while IFS= read -r line; do good "$line"; done <<<"$said"
    fi
    if grep -q '/opt/s3-mirror' "$1"; then
        warn "Remove the lines with /opt/s3-mirror and S3_ from $1 yourself: setup did not add them."
    fi
}

uninstall() {
    local file folder
    if ((${#compose_files[@]})); then
        for file in "${compose_files[@]}"; do remove_lines "$file"; done
    fi
    for folder in "$dir/s3-mirror" "$dir/s3-mirror.new" "$dir/s3-mirror.old"; do
        if [[ ! -e $folder && ! -L $folder ]]; then
            continue
        elif is_own "$folder"; then
            rm -rf -- "$folder"
            good "$folder is gone"
        else
            warn "$folder is not what setup made (or is a link), so it is left alone; delete it yourself when you do not need it."
        fi
    done
    [[ ! -d $dir/s3-mirror-backups ]] || printf '    Kept: %s, copies of state files; delete them when you do not need them.\n' "$dir/s3-mirror-backups"
    printf '    Kept: the objects in the bucket, .s3-mirror/ beside the database of Frigate, clips/cache/.s3_*_events.\n'
    printf '    To end: %s up -d\n' "$(compose_command || printf 'docker compose')"
}

main() {
    parse_options "$@"
    step "Looking around"
    check_docker
    find_compose
    case $action in
    uninstall) uninstall ;;
    check)
        find_service
        doctor
        ;;
    install)
        [[ -r $here/requirements/runtime.txt && -d $here/src/frigate_s3_mirror ]] ||
            fail "This script must lie in the folder of the mirror, beside requirements/ and src/; $here is not that."
        find_service
        check_lines_can_be_added
        refuse_foreign_bundle
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
