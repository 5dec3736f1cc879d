#!/usr/bin/env python3
"""Status 0 when Triton is ready and its Python backend computes: ``healthcheck.py [http://HOST:PORT]``.

Triton goes on calling itself ready when a process of its Python backend has died; a picture of one
pixel, decoded a few times since there are two such processes, shows that it has not.
"""

import json
import struct
import sys
import urllib.request

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


def main(server: str) -> int:
    """Return the exit status; the reason goes to standard error."""
    try:
        urllib.request.urlopen(f"{server}/v2/health/ready", timeout=3).close()
        body = json.dumps(REQUEST).encode()
        for _ in range(4):
            urllib.request.urlopen(f"{server}/v2/models/decode_image/infer", data=body, timeout=5).close()
    except OSError as error:
        print(f"healthcheck: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if sys.argv[1:] else "http://127.0.0.1:8000"))
