"""The commands' options for the models: servers with a path prefix, TLS and a key; threads in process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from img2poem import Greedy, Img2Poem, InvalidOption, Tls
from img2poem.serving.server import TritonServer

from ..gate import KEY, Gate
from .test_app import run


@pytest.fixture
def gate(server: TritonServer, tmp_path: Path) -> Iterator[Gate]:
    with Gate(int(server.http_url.rpartition(":")[2]), tmp_path) as gate:
        yield gate


def test_a_server_under_a_path_behind_tls_and_a_key(gate: Gate, photo_file: Path, repository: Path) -> None:
    with Img2Poem(repository) as poet:
        expected = poet.write(photo_file, Greedy())
    for url in (gate.url, gate.url + "/"):
        with Img2Poem(url, headers={"authorization": KEY}, tls=Tls(ca=gate.ca)) as poet:
            assert poet.write(photo_file, Greedy()).tokens == expected.tokens
            assert [one.ready for one in poet.health()] == [True]
    done = run(
        *("write", photo_file, "--strategy", "greedy", "--url", gate.url, "--ca", gate.ca),
        *("--header", f"Authorization: {KEY}", "--header", "x-team:poets"),
    )
    assert done.returncode == 0 and done.stdout.strip() == expected.text, done.stderr


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--url", "{gate.url}", "--ca", "{gate.ca}"], 1, "denies access"),
        (["--url", "{gate.url}", "--header", f"authorization:{KEY}"], 1, "--ca"),
        (
            ["--url", "{gate.host}", "--ca", "{gate.ca}", "--header", f"authorization:{KEY}"],
            1,
            "not under this address",
        ),
        (["--url", "{gate.url}", "--ca", "{gate.ca}", "--header", "a secret"], 2, "a name, a colon and a value"),
        (["--url", "{gate.url}", "--ca", "no.pem"], 2, "no.pem cannot be read"),
        (["--url", "{gate.url}", "--header", "a:1", "--header", "A:2"], 2, "--header A is given twice"),
        (["--url", "{gate.url}", "--threads", "2"], 2, "--threads goes with --engine"),
        (["--ca", "{gate.ca}"], 2, "--ca goes with --url"),
        (["--header", "a:1"], 2, "--header goes with --url"),
        (["--url", "grpc://127.0.0.1:8001/triton"], 2, "is not of the form"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(
    gate: Gate, photo_file: Path, options: list[str], status: int, says: str
) -> None:
    done = run("write", photo_file, *(option.format(gate=gate) for option in options))
    assert done.returncode == status and says in done.stderr, done.stderr
    assert "secret" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["write", "stream", "batch", "card", "describe", "embed", "score", "doctor", "web"])
def test_every_command_that_asks_models_has_the_options(command: str) -> None:
    told = run(command, "--help").stdout
    assert all(f"--{name} " in told for name in ("engine", "url", "header", "ca", "threads", "timeout"))


def test_threads_on_the_command_line(repository: Path, photo_file: Path) -> None:
    poems = [run("write", photo_file, "--engine", repository, "--threads", n).stdout for n in ("1", "2")]
    assert poems[0] == poems[1] != ""
    assert run("write", photo_file, "--threads", "0").returncode == 2


def test_an_address_with_a_query_is_refused() -> None:
    for url in ("http://host/triton?a=1", "http://host/triton#a", "grpc://host:1/a"):
        with pytest.raises(InvalidOption, match="is not of the form"):
            Img2Poem(url)
