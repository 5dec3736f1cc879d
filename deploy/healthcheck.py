#!/usr/bin/env python3
"""Exit with status 0 if Triton is ready and its Python backend works: ``healthcheck.py [http://HOST:PORT]``.

Triton still reports itself ready after a process of its Python backend has died. So the check also decodes a one-pixel
picture, several times since there are two such processes. The picture waits in the callers' queue. A refusal by the
queue also shows that the server is alive. So does a server that does not answer the check in time but answers other
requests meanwhile: it is decoding large photographs.
"""

import json
import struct
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

#: A BMP, our only format that can be text (no byte above 127), and so fits into a plain JSON request.
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
#: Triton's status for a full queue or a request that waited too long.
BUSY = 503
#: Timeouts in seconds: for the readiness and statistics requests, which are never queued, and for a picture, since
#: queued requests are refused after 10. The timeouts of the probes exceed three of the first plus one of the second.
READY_TIMEOUT, TIMEOUT = 5, 20
#: Ignores the environment's proxy: the server is in the same container.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(server: str) -> int:
    """Return the exit status; print the reason to standard error."""
    try:
        DIRECT.open(f"{server}/v2/health/ready", timeout=READY_TIMEOUT).close()
        before = decoded(server)
        # Concurrent, so that they reach both processes and together wait no longer than one would.
        with ThreadPoolExecutor(4) as pool:
            answered = all(list(pool.map(decode, [server] * 4)))
        if not answered and decoded(server) == before:
            raise TimeoutError(f"no photograph was decoded in {TIMEOUT} s")
    except (OSError, ValueError, LookupError) as error:
        print(f"healthcheck: {error}", file=sys.stderr)
        return 1
    return 0


def decode(server: str) -> bool:
    """Decode the picture; return False if no response came in time.

    A busy server is not a dead one.
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
    """Return the number of requests that the decoder has answered since the server's start, errors included."""
    with DIRECT.open(f"{server}/v2/models/decode_image/stats", timeout=READY_TIMEOUT) as response:
        counts = json.load(response)["model_stats"][0]["inference_stats"]
    return int(counts["success"]["count"]) + int(counts["fail"]["count"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if sys.argv[1:] else "http://127.0.0.1:8000"))
