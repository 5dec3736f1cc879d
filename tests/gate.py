"""A reverse proxy in front of a server, as operators use it: TLS, a path prefix, and a key."""

from __future__ import annotations

import http.client
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

KEY = "Bearer a secret"


class Gate:
    """Forwards requests under ``/triton`` with ``KEY`` to the server at ``port``; ``ca`` signed its certificate."""

    def __init__(self, port: int, folder: Path) -> None:
        authority, self.ca = trustme.CA(), folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(port))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"https://127.0.0.1:{self._server.server_port}"
        self.url = f"{self.host}/triton"

    def __enter__(self) -> Gate:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if not self.path.startswith("/triton/v2/") or self.headers.get("authorization") != KEY:
                return self._answer(404 if self.headers.get("authorization") == KEY else 401, [], b"")
            behind = http.client.HTTPConnection("127.0.0.1", port)
            behind.request(self.command, self.path.removeprefix("/triton"), body, dict(self.headers))
            answer = behind.getresponse()
            content = answer.read()
            behind.close()
            kept = ("content-type", "inference-header-content-length", "content-encoding")
            self._answer(answer.status, [(k, v) for k, v in answer.getheaders() if k.lower() in kept], content)

        do_POST = do_GET

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in (*headers, ("content-length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
