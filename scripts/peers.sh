#!/bin/sh
# peers.sh - other projects, timed beside ours. Optional: nothing in the build or the tests needs it.
#
#   peers.sh install [DIR]          a Python environment with the peers, pinned; 6 GB (PyTorch brings its GPU libraries
#                                   along) and some 15 minutes, most of them for compiling llama.cpp
#   peers.sh run [DIR] [OPTION]...      encoders; options as in `peers.py --help`; some 5 minutes
#   peers.sh scoring [DIR] [OPTION]...  the perplexity of a text: PyTorch, llama.cpp (peers_scoring.py --help)
#   peers.sh codec [DIR] [OPTION]...    lossless coding: ZipNN (peers_codec.py --help); a minute
#   peers.sh sweep [DIR] [OPTION]...    nine cells: transformers, bitsandbytes, hqq (peers_sweep.py --help)
#
# DIR is $UCBENCH_PEERS, else peers-venv in the cache: $UCBENCH_CACHE, else $XDG_CACHE_HOME/ucbench, else ~/.cache/ucbench.
set -eu
cache=${UCBENCH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/ucbench}
scripts=$(cd "$(dirname "$0")" && pwd)

usage() {
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
[ $# -ge 1 ] || usage
verb=$1
shift
venv=${UCBENCH_PEERS:-$cache/peers-venv}
case ${1:--} in -*) ;; *)
    venv=$1
    shift
    ;;
esac

install() {
    free=$(df -Pk "$(dirname "$venv")" | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge 8 ] || { echo "peers: $free GB free beside $venv, 8 needed" >&2; exit 4; }
    echo "peers: installing into $venv: PyTorch, transformers, bitsandbytes, hqq, gguf, llama.cpp (compiled here)" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet numpy==2.4.6 torch==2.15.0 bitsandbytes==0.50.2 gguf==0.19.0
    "$venv/bin/pip" install --quiet transformers==5.23.0 accelerate==1.15.0
    # hqq asks for more than its quantizer uses.
    "$venv/bin/pip" install --quiet termcolor tqdm einops
    "$venv/bin/pip" install --quiet --no-deps hqq==0.2.8.post1
    "$venv/bin/pip" install --quiet zipnn==0.5.4
    CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_CUDA=OFF -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF" \
        "$venv/bin/pip" install --quiet llama-cpp-python==0.3.36
    echo "peers: done; now: make bench-peers, make bench-scoring" >&2
}

case $verb in
install)
    mkdir -p "$(dirname "$venv")"
    install
    ;;
run | scoring | sweep | codec)
    if [ ! -x "$venv/bin/python" ]; then
        echo "peers: there is no Python environment at $venv; make it with: sh scripts/peers.sh install $venv" >&2
        exit 4
    fi
    case $verb in run) program=peers.py ;; *) program=peers_$verb.py ;; esac
    exec "$venv/bin/python" "$scripts/$program" "$@"
    ;;
*) usage ;;
esac
