"""A TCP proxy that injects faults into a server's responses at chosen moments."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from enum import Enum


class Fault(Enum):
    none = "none"
    #: The connection is closed instead of a response.
    drop = "drop"
    #: The connection is reset in the middle of a response.
    reset = "reset"
    #: There is no response.
    stall = "stall"
    #: The connection never transmits anything again.
    lost = "lost"
    #: The response arrives one byte at a time.
    drip = "drip"
    #: Random bytes replace the response.
    garbage = "garbage"


class Proxy:
    """Listens on its own port in front of ``port``; use it as a context manager.

    Each chunk of a response is subject to ``fault``, at most ``times`` times (None: always).
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._fault, self._times = Fault.none, None
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def spoil(self, fault: Fault, times: int | None = None) -> None:
        """Begin to inject ``fault``, or stop injecting faults."""
        with self._lock:
            self._fault, self._times = fault, times

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._listener.close()
        for one in list(self._open):
            self._shut(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answers, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        self._shut(client, server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                self._answer(client, data)
        self._shut(client, server)

    def _answer(self, client: socket.socket, data: bytes) -> None:
        fault = self._next()
        if fault is Fault.none:
            client.sendall(data)
        elif fault is Fault.drop:
            raise ConnectionError
        elif fault is Fault.reset:
            client.sendall(data[: len(data) // 2])
            # Closing then sends RST, after the reading thread has released the socket.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.shutdown(socket.SHUT_RD)
            client.close()
            raise ConnectionError
        elif fault is Fault.stall:
            while not self._closing and self._fault is Fault.stall:
                time.sleep(0.02)
            client.sendall(data)
        elif fault is Fault.lost:
            while not self._closing:
                time.sleep(0.02)
        elif fault is Fault.drip:
            for byte in data:
                client.sendall(bytes([byte]))
                time.sleep(0.1 if self._fault is Fault.drip and not self._closing else 0)
        else:
            client.sendall(os.urandom(len(data)))

    def _next(self) -> Fault:
        with self._lock:
            if self._times is not None:
                self._times -= 1
                if self._times < 0:
                    self._fault, self._times = Fault.none, None
            return self._fault

    def _shut(self, *sockets: socket.socket) -> None:
        for one in sockets:
            self._open.discard(one)
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
