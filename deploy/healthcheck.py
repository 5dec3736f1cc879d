#!/usr/bin/env python3
"""Status 0 when Triton is ready and its Python backend computes: ``healthcheck.py [http://HOST:PORT]``.

Triton goes on calling itself ready when a process of its Python backend has died; a picture of one
pixel, decoded a few times since there are two such processes, shows that it has not. It waits in the
callers' queue: what is refused there shows that the server is alive, as an answer does. And so does a
server that answers nothing in time, but others meanwhile: it decodes large photographs.
"""

import json
import struct
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

#: A BMP, the one of our formats that is text (no byte above 127), and so fits into a plain JSON request.
PIXEL = (
    b"BM"
    + struct.pack("<IHHI", 58, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0)
    + bytes(4)
)
REQUEST = {
    "inputs": [{"name": "image", "shape": [1, 1], "datatype": "BYTES", "data": [PIXEL.decode()]}],
    "outputs": [{"name": "pixels", "parameters": {"binary_data": True}}],
}
#: What Triton answers where the queue is full, or a request waited in it for too long.
BUSY = 503
#: Seconds for the answers of whether it is ready and of how many were decoded, which wait for nothing, and for a
#: picture: requests wait 10 until they are refused. The limits of the probes are above three of the first and one of
#: the other.
READY_TIMEOUT, TIMEOUT = 5, 20
#: Without the proxy that the environment may name: the server is the container's own.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(server: str) -> int:
    """Return the exit status; the reason goes to standard error."""
    try:
        DIRECT.open(f"{server}/v2/health/ready", timeout=READY_TIMEOUT).close()
        before = decoded(server)
        # At once, so that they go to both processes, and wait no longer than one among the callers' requests.
        with ThreadPoolExecutor(4) as pool:
            answered = all(list(pool.map(decode, [server] * 4)))
        if not answered and decoded(server) == before:
            raise TimeoutError(f"no photograph was decoded in {TIMEOUT} s")
    except (OSError, ValueError, LookupError) as error:
        print(f"healthcheck: {error}", file=sys.stderr)
        return 1
    return 0


def decode(server: str) -> bool:
    """Let the picture be decoded; False when no answer came in time.

    A server that is too busy for it is not a dead one.
    """
    url, body = f"{server}/v2/models/decode_image/infer", json.dumps(REQUEST).encode()
    try:
        DIRECT.open(url, data=body, timeout=TIMEOUT).close()
    except urllib.error.HTTPError as error:
        if error.code != BUSY:
            raise
    except TimeoutError:
        return False
    return True


def decoded(server: str) -> int:
    """Return how many requests the decoder has answered since the server's start, errors included."""
    with DIRECT.open(f"{server}/v2/models/decode_image/stats", timeout=READY_TIMEOUT) as response:
        counts = json.load(response)["model_stats"][0]["inference_stats"]
    return int(counts["success"]["count"]) + int(counts["fail"]["count"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if sys.argv[1:] else "http://127.0.0.1:8000"))
