#!/bin/sh
# Start Triton on the image's repository; arguments are added to its options.
#   MODELS             the model repository (/models)
#   IMG2POEM_KEY_FILE  file with the key for the restricted interfaces; without it nobody can use them
set -eu
key_file=${IMG2POEM_KEY_FILE:-/run/secrets/img2poem-key}
if [ -r "$key_file" ]; then
    key=$(cat "$key_file")
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
