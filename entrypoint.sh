#!/usr/bin/env bash
# Frigate's container starts here instead of at /init: checks the S3 snapshot mirror's files, says what is configured,
# and hands over to /init, whatever it found: Frigate, its web page and its restreaming must start even when everything
# of the mirror is missing or broken, so the options of bash that end a script early are off.
set +o errexit +o nounset +o pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" 2>/dev/null && pwd -P)
fallback_lib=${S3_MIRROR_LIB:-/config/.s3-mirror/lib}
while [[ $fallback_lib == ?*/ ]]; do fallback_lib=${fallback_lib%/}; done
marker=.made-by-frigate-s3-mirror

# say LEVEL SENTENCE: one line in Frigate's log format.
say() {
    local now
    printf -v now '%(%Y-%m-%d %H:%M:%S)T' -1
    printf '[%s] %-30s %-8s: %s\n' "$now" frigate_s3_mirror "$1" "${2//[^[:print:]]/?}"
}

# is_set NAME: whether the variable, or the one that names a file with its value, holds something.
is_set() {
    local file=${1}_FILE
    [[ -n ${!1//[[:space:]]/} || -n ${!file//[[:space:]]/} ]]
}

# shown NAME DEFAULT: the value of a setting that is no secret.
shown() {
    local file=${1}_FILE
    if [[ -n ${!1:-} ]]; then
        printf '%s' "${!1}"
    elif [[ -n ${!file:-} ]]; then
        printf 'from %s' "${!file}"
    else
        printf '%s' "$2"
    fi
}

# secret NAME: whether a secret is there, and no more.
secret() {
    if is_set "$1"; then printf 'set'; else printf 'not set'; fi
}

say_settings() {
    local endpoint
    endpoint=$(shown S3_ENDPOINT_URL AWS)
    [[ $endpoint != *@* ]] || endpoint="***@${endpoint##*@}"  # what is before it may be a password
    endpoint=${endpoint%%[?#]*}
    say INFO "S3 snapshot mirror bucket=$(shown S3_BUCKET -) endpoint=$endpoint region=$(shown S3_REGION us-east-1)\
 prefix=$(shown S3_PATH_PREFIX -) storage_class=$(shown S3_STORAGE_CLASS default)\
 access_key=$(secret S3_ACCESS_KEY) secret_key=$(secret S3_SECRET_KEY)"
}

# bundle_folder: the folder that holds patch/ (this one, or s3-mirror/ beside this script).
bundle_folder() {
    local folder
    for folder in "$here" "$here/s3-mirror"; do
        if [[ -r $folder/patch/sitecustomize.py ]]; then
            printf '%s' "$folder"
            return 0
        fi
    done
    return 1
}

# has_service FOLDER: whether the service is installed in it.
has_service() {
    [[ -r $1/frigate_s3_mirror/frigate_s3_patcher.py ]]
}

# is_new_enough: whether the service runs on the image's Python.
is_new_enough() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# is_installed: whether the interpreter itself brings the service and its packages (bare metal, development).
is_installed() {
    python3 -c 'from importlib.util import find_spec; find_spec("frigate_s3_mirror").name, find_spec("obstore").name' \
        >/dev/null 2>&1
}

# is_free FOLDER: whether the packages may be put there: it is not there yet, empty, or bears our marker, and is no link.
is_free() {
    [[ $1 == /* && ! -L $1 ]] || return 1
    [[ ! -e $1 ]] && return 0
    [[ -d $1 ]] && { [[ -f $1/$marker ]] || rmdir -- "$1" 2>/dev/null; }
}

# is_own FOLDER: whether the service in it may be refreshed. Older versions filled the usual place without a marker.
is_own() {
    [[ -d $1 && ! -L $1 ]] || return 1
    [[ -f $1/$marker ]] || [[ $1 == /config/.s3-mirror/lib && -d $1/obstore ]]
}

# run_pip ARGUMENTS: pip install for a folder of its own, whatever pip.conf and PIP_ variables say of the place.
run_pip() (
    unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_CONSTRAINT PIP_REQUIREMENT PIP_EDITABLE PIP_PLATFORM PIP_ABI PIP_PYTHON PIP_DRY_RUN
    export PIP_REQUIRE_VIRTUALENV=0
    exec timeout 180 python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-user --prefix '' \
        --root-user-action=ignore --retries 1 --timeout 15 "$@"
)

# install_once BUNDLE LIB: install the packages where a restart finds them, whole or not at all.
install_once() {
    local bundle=$1 lib=$2 fresh=$2.new wheels=$1/wheels lock log
    local -a from=()
    for lock in "$bundle/requirements.txt" "$bundle/requirements/runtime.txt"; do
        [[ -r $lock ]] && break
    done
    if [[ ! -r $lock ]] || ! { compgen -G "$wheels/frigate_s3_mirror-*.whl" >/dev/null || has_service "$bundle/src"; }; then
        say ERROR "Failed to import S3 modules: there is nothing to install in $bundle; run setup_s3_mirror.sh"
        return 1
    fi
    if ! is_free "$lib" || ! is_free "$fresh"; then
        say ERROR "Failed to import S3 modules: $lib or $fresh holds what is not the mirror's, and is left alone; run setup_s3_mirror.sh"
        return 1
    fi
    [[ -d $wheels ]] && from=(--no-index --find-links "$wheels")
    say INFO "S3 snapshot mirror installs its packages into $lib, once; setup_s3_mirror.sh spares this"
    rm -rf -- "$fresh"  # half of an installation that was killed: is_free knows it as our own
    if log=$(mkdir -p -- "$fresh" 2>&1 && { : >"$fresh/$marker"; } 2>&1 &&
        run_pip --target "$fresh" "${from[@]}" --require-hashes --requirement "$lock" 2>&1 &&
        install_service "$bundle" "$fresh" 2>&1); then
        rm -rf -- "$lib" && mv -T -- "$fresh" "$lib" && return 0
    fi
    rm -rf -- "$fresh"
    say ERROR "Failed to import S3 modules: the packages cannot be installed (${log##*$'\n'}); run setup_s3_mirror.sh"
    return 1
}

# install_service BUNDLE LIB: the service itself, from its wheel or from the sources.
install_service() {
    local bundle=$1 lib=$2
    if has_service "$bundle/src"; then
        rm -rf -- "$lib/frigate_s3_mirror" && cp -R -- "$bundle/src/frigate_s3_mirror" "$lib/"
    else
        python3 -m zipfile -e "$(compgen -G "$bundle/wheels/frigate_s3_mirror-*.whl" | sort -V | tail -n 1)" "$lib/"
    fi
}

prepare() {
    local bundle
    if ! bundle=$(bundle_folder); then
        say ERROR "S3 snapshot mirror not started: patch/sitecustomize.py is not beside $here/entrypoint.sh"
        return
    fi
    # Python reads the patch in every process and acts on it in Frigate's main process only.
    export PYTHONPATH="$bundle/patch${PYTHONPATH:+:$PYTHONPATH}"
    is_set S3_BUCKET || return  # the patch says so
    say_settings
    has_service "$bundle/lib" && return
    export S3_MIRROR_LIB=$fallback_lib
    if has_service "$fallback_lib"; then
        # In a checkout the sources may be newer than what was installed from them.
        ! has_service "$bundle/src" || ! is_own "$fallback_lib" || install_service "$bundle" "$fallback_lib" 2>/dev/null
    elif ! is_new_enough; then
        say ERROR "S3 snapshot mirror not started: this image's Python is too old for it (3.11 is needed); use the sidecar"
    elif ! is_installed; then
        install_once "$bundle" "$fallback_lib"
    fi
}

prepare
exec "${S3_MIRROR_INIT:-/init}" "$@"
