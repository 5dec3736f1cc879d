#!/bin/sh
# Start Triton with the image's repository; arguments are appended to its options.
#   MODELS             the model repository (/models)
#   IMG2POEM_KEY_FILE  file with the key for the restricted interfaces; without it nobody can use them
#   IMG2POEM_THREADS   cores for models on the CPU (the container's limit, or all of the machine's)
#   IMG2POEM_SHM_MIB   minimum size of /dev/shm in MiB (1024)
set -eu

fail() {
    echo "start.sh: $1" >&2
    exit 1
}

# number NAME VALUE: print VALUE if it is a whole number above 0, otherwise fail.
number() {
    case $2 in
        "" | *[!0-9]* | 0*) fail "$1 is '$2', not a whole number above 0" ;;
    esac
    echo "$2"
}

# The Python backend passes photographs and pixels through /dev/shm; a request fails if its pool cannot grow. The
# default suffices for sixteen concurrent photographs of 64 MiB, the largest size.
needed=$(number IMG2POEM_SHM_MIB "${IMG2POEM_SHM_MIB:-1024}")
# df -P prints one line per file system; its size is the second field.
has=$(($(df -Pk /dev/shm | awk 'END {print $2}') / 1024))
[ "$has" -ge "$needed" ] || fail "/dev/shm has $has MiB and needs $needed: docker run --shm-size ${needed}m, or in \
Kubernetes an emptyDir of medium Memory; for small photographs set IMG2POEM_SHM_MIB lower"

# Cores available to the container. Kubernetes sets IMG2POEM_THREADS; docker run --cpus sets a quota.
cores() {
    limit=$(cat /sys/fs/cgroup/cpu.max 2>/dev/null) || limit=max
    case $limit in
        max*) nproc ;;
        *) echo "$limit" | awk '{print int(($1 + $2 - 1) / $2)}' ;;
    esac
}
available=$(cores)
threads=$(number IMG2POEM_THREADS "${IMG2POEM_THREADS:-$available}")
# From four cores on, all sessions share one pool with a thread per core: one thread per session, as in the configs,
# would leave cores idle. On two cores, greedy search took 1.3 times as long with the pool, beam search 0.6 times.
# Models on a GPU need no threads.
pool=
if [ "$threads" -ge 4 ] && ! grep -qs KIND_GPU "${MODELS:-/models}"/*/config.pbtxt; then
    pool="--backend-config=onnxruntime,enable-global-threadpool=1 \
        --backend-config=onnxruntime,intra_op_thread_count=$threads"
fi

key_file=${IMG2POEM_KEY_FILE:-/run/secrets/img2poem-key}
# An unusable key file is an error; only a missing default file leads to a random key.
if [ "${IMG2POEM_KEY_FILE:+set}" ] || [ -e "$key_file" ]; then
    key=$(cat -- "$key_file") || fail "the key file $key_file cannot be read"
    # Triton splits the option at commas, colons and equals signs.
    case ${#key}:$key in
        ?:* | 1[0-5]:* | *:*[!A-Za-z0-9_-]*)
            fail "the key in $key_file must have at least 16 letters, digits, - or _, and nothing else" ;;
    esac
else
    key=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
fi
# Remove the shared memory of processes that were killed before a restart: a pod's /dev/shm outlives them.
shared="img2poem_$(uname -n)_"
rm -f -- /dev/shm/"$shared"*
restricted="shared-memory,model-repository,trace,logging:img2poem-key=$key"
# $pool is unquoted: it is empty or several words.
# shellcheck disable=SC2086
exec tritonserver \
    --model-repository="${MODELS:-/models}" \
    --disable-auto-complete-config \
    --grpc-restricted-protocol="$restricted" \
    --http-restricted-api="$restricted" \
    --exit-timeout-secs=20 \
    --metrics-config=summary_latencies=true \
    --metrics-config=histogram_latencies=true \
    $pool \
    --backend-config=python,shm-default-byte-size=16777216 \
    --backend-config=python,shm-region-prefix-name="$shared" \
    "$@"
