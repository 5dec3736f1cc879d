#!/bin/sh
# Start Triton on the image's repository; arguments are added to its options.
#   MODELS             the model repository (/models)
#   IMG2POEM_KEY_FILE  file with the key for the restricted interfaces; without it nobody can use them
set -eu

fail() {
    echo "start.sh: $1" >&2
    exit 1
}

key_file=${IMG2POEM_KEY_FILE:-/run/secrets/img2poem-key}
# A key that was meant to be there but cannot be used must not end in one that nobody knows.
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
# Of processes that were killed before the container was started again: a pod's /dev/shm outlives them.
shared="img2poem_$(uname -n)_"
rm -f -- /dev/shm/"$shared"*
restricted="shared-memory,model-repository,trace,logging:img2poem-key=$key"
exec tritonserver \
    --model-repository="${MODELS:-/models}" \
    --disable-auto-complete-config \
    --grpc-restricted-protocol="$restricted" \
    --http-restricted-api="$restricted" \
    --exit-timeout-secs=20 \
    --backend-config=python,shm-default-byte-size=16777216 \
    --backend-config=python,shm-region-prefix-name="$shared" \
    "$@"
