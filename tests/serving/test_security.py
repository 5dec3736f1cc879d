"""The real server refuses unauthorised requests and survives malicious ones."""

from __future__ import annotations

import http.client
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import tritonclient.grpc as triton
import trustme
from tritonclient.utils import InferenceServerException

from benchmarks.streams import client_of
from img2poem.errors import InvalidOption
from img2poem.images.decode import MAX_BYTES
from img2poem.serving.server import Ports, ServerSettings, TritonServer
from img2poem.serving.settings import KEY_HEADER, LogLevel, ModelControl, ServerTls

from ..conftest import ROOT
from .requests import KEY, OVER_GRPC, poem

#: One endpoint of each restricted kind: method and path over REST, tritonclient's method over gRPC.
INTERFACES = {
    "model-repository": ("POST", "repository/index", "get_model_repository_index"),
    "shared-memory": ("GET", "systemsharedmemory/status", "get_system_shared_memory_status"),
    "trace": ("GET", "trace/setting", "get_trace_settings"),
    "logging": ("GET", "logging", "get_log_settings"),
}


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates: ``ca.pem``, and ``server``, ``client`` and ``stranger`` with ``.pem`` and ``.key``."""
    folder, authority, other = tmp_path_factory.mktemp("papers"), trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, issuer in (("server", authority), ("client", authority), ("stranger", other)):
        paper = issuer.issue_cert("localhost", "127.0.0.1")
        paper.private_key_pem.write_to_path(folder / f"{name}.key")
        paper.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def guarded(repository: Path, papers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server that requires certificates and a key; with the key, its models may be changed."""
    settings = ServerSettings(
        tls=ServerTls(papers / "server.pem", papers / "server.key", papers / "ca.pem"),
        api_key=KEY,
        model_control=ModelControl.explicit,
        log_level=LogLevel.verbose,
    )
    log = tmp_path_factory.mktemp("guarded") / "triton.log"
    with TritonServer(repository, Ports.free(), settings, log=log) as server:
        yield server
    assert KEY not in log.read_text(errors="replace"), "secrets are not logged"


def secured(server: TritonServer, papers: Path, name: str | None) -> triton.InferenceServerClient:
    own = {"private_key": f"{papers / name}.key", "certificate_chain": f"{papers / name}.pem"} if name else {}
    return client_of(server, ssl=True, root_certificates=str(papers / "ca.pem"), **own)


def status(server: TritonServer, method: str, path: str, headers: dict[str, str]) -> int:
    request = urllib.request.Request(f"{server.http_url}/v2/{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_caller_with_a_certificate_gets_a_poem(guarded: TritonServer, papers: Path, photos: list[bytes]) -> None:
    client = secured(guarded, papers, "client")
    assert len(poem(client, photos[0]).splitlines()) >= 3
    client.close()


@pytest.mark.parametrize("who", [None, "stranger"])
def test_callers_without_our_certificate_are_refused(guarded: TritonServer, papers: Path, who: str | None) -> None:
    client = secured(guarded, papers, who)
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        client.is_server_live(client_timeout=10)
    client.close()


def test_plain_text_is_refused(guarded: TritonServer) -> None:
    client = client_of(guarded)
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        client.is_server_live(client_timeout=10)
    client.close()


@pytest.mark.parametrize("interface", INTERFACES)
def test_restricted_interfaces_want_the_key(guarded: TritonServer, papers: Path, interface: str) -> None:
    method, path, call = INTERFACES[interface]
    wrong = {KEY_HEADER: KEY[:-1]}
    assert status(guarded, method, path, {}) == status(guarded, method, path, wrong) == 403
    assert status(guarded, method, path, {KEY_HEADER: KEY}) == 200
    client = secured(guarded, papers, "client")
    for headers in ({}, dict.fromkeys(OVER_GRPC, KEY[:-1])):
        with pytest.raises(InferenceServerException, match="restricted"):
            getattr(client, call)(headers=headers)
    assert getattr(client, call)(headers=OVER_GRPC) is not None
    client.close()


def test_no_code_comes_in_with_a_request(guarded: TritonServer, papers: Path, tmp_path: Path) -> None:
    """Triton's load endpoint accepts a model's files in the request: it is closed without the key."""
    planted = tmp_path / "planted"
    code = f"open({str(planted)!r}, 'w')\nclass TritonPythonModel:\n    def execute(self, requests): pass\n"
    config = json.dumps({"backend": "python", "max_batch_size": 0})
    client = secured(guarded, papers, "client")
    with pytest.raises(InferenceServerException, match="restricted"):
        client.load_model("planted", config=config, files={"file:1/model.py": code.encode()})
    client.close()
    assert not planted.exists()


def test_without_a_key_nobody_has_one(server: TritonServer) -> None:
    for method, path, call in INTERFACES.values():
        assert status(server, method, path, {KEY_HEADER: ""}) == 403
        client = client_of(server)
        with pytest.raises(InferenceServerException, match="restricted"):
            getattr(client, call)()
        client.close()


def test_a_photograph_of_many_megabytes_over_rest(server: TritonServer, tmp_path: Path, photos: list[bytes]) -> None:
    """With stacks of the default size, a body of 5 MB from curl crashes Triton 2.51."""
    pid, large = server.pid, tmp_path / "large.jpg"
    large.write_bytes(photos[0] + bytes(20 * 2**20))
    command = ["sh", str(ROOT / "examples" / "rest.sh"), str(large), server.http_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "text" in done.stdout, done.stdout + done.stderr
    assert server.pid == pid is not None


def test_a_body_in_a_million_fragments_over_rest(server: TritonServer) -> None:
    """CVE-2025-23310: Triton 2.51 uses stack space for each fragment."""
    pid = server.pid
    connection = http.client.HTTPConnection("127.0.0.1", server.ports.http, timeout=60)
    fragments = (b"x" * 4 for _ in range(2**20))
    body = iter([b"4\r\n" + b"\r\n4\r\n".join(fragments) + b"\r\n0\r\n\r\n"])
    headers = {"Transfer-Encoding": "chunked"}
    connection.request("POST", "/v2/models/decode_image/infer", body, headers, encode_chunked=False)
    assert connection.getresponse().status >= 400
    connection.close()
    assert server.pid == pid is not None


def test_a_photograph_above_the_limit_over_grpc(server: TritonServer, photos: list[bytes]) -> None:
    pid, client = server.pid, client_of(server)
    with pytest.raises(InferenceServerException, match="BadImage"):
        poem(client, b"\xff\xd8\xff" + bytes(MAX_BYTES))
    assert poem(client, photos[0])
    client.close()
    assert server.pid == pid is not None


def test_bytes_that_are_no_message_over_grpc(server: TritonServer, photos: list[bytes]) -> None:
    pid = server.pid
    with grpc.insecure_channel(f"127.0.0.1:{server.ports.grpc}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError):
            infer(b"\xff" * 2**20, timeout=10)
    client = client_of(server)
    assert poem(client, photos[0])
    client.close()
    assert server.pid == pid is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": "short"},
        {"api_key": "with a space and, a comma"},
        {"trace": ("rate",)},
        {"host": "localhost"},
        {"http_host": "::1"},
    ],
)
def test_settings_that_triton_would_misread(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        ServerSettings(**wrong)  # type: ignore[arg-type]


def test_a_key_does_not_show() -> None:
    assert KEY not in repr(ServerSettings(api_key=KEY))


@pytest.mark.parametrize(
    ("settings", "local"),
    [
        (ServerSettings(), True),
        (ServerSettings(host="127.8.0.1"), True),
        (ServerSettings(host="0.0.0.0"), False),
        (ServerSettings(http_host="10.0.0.1"), False),
    ],
)
def test_what_only_this_machine_reaches(settings: ServerSettings, local: bool) -> None:
    assert settings.is_local is local
