#!/bin/sh
# Request a poem with curl from a running `img2poem serve`: sh examples/rest.sh PHOTO [http://HOST:PORT]
# KServe v2 with Triton's binary extension: a JSON header, then the photograph's length and the photograph.
set -eu
photo=$1
server=${2:-http://127.0.0.1:8000}
size=$(wc -c <"$photo")
option() { printf '{"name": "%s", "shape": [1, 1], "datatype": "%s", "data": [%s]}' "$1" "$2" "$3"; }
head=$(printf '{"inputs": [{"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": %d}}, {"name": "forbidden_tokens", "shape": [1, 32], "datatype": "INT64", "data": [%s0]}, %s, %s, %s, %s, %s, %s, %s, %s], "outputs": [{"name": "text"}, {"name": "score"}]}' \
    $((size + 4)) "$(printf '0, %.0s' $(seq 31))" \
    "$(option min_lines INT64 3)" "$(option max_lines INT64 6)" "$(option max_tokens INT64 96)" \
    "$(option max_line_tokens INT64 16)" "$(option no_repeat_ngram INT64 3)" \
    "$(option repetition_penalty FP32 1.1)" "$(option beam_width INT64 5)" "$(option length_penalty FP32 1.0)")
# The length as four little-endian bytes, written as octal escapes.
length=$(printf '\\%03o' $((size % 256)) $((size / 256 % 256)) $((size / 65536 % 256)) $((size / 16777216)))
{ printf '%s' "$head"; printf "$length"; cat "$photo"; } |
    curl --silent --show-error --fail-with-body --data-binary @- \
        --header "Inference-Header-Content-Length: ${#head}" "$server/v2/models/img2poem/infer"
echo
