"""Arguments of the wrong type: refused with the expected type, or converted if the meaning is obvious."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2poem import BeamSearch, BestOf, Form, Greedy, Img2Poem, InvalidOption, Sampling, Tls
from img2poem.decoding.registry import check_tensors
from img2poem.errors import BadRepository
from img2poem.transports.address import parse

from ..cli.test_app import run
from ..conftest import ROOT, encoded, gradient

PHOTO = encoded(gradient(), "PNG")


def test_numbers_of_numpy_are_numbers() -> None:
    made = (
        Sampling(seed=np.int64(7), top_k=np.uint8(5), temperature=np.float32(0.5), top_p=np.float64(0.5)),
        BeamSearch(width=np.int32(3), length_penalty=1),
        BestOf(np.int16(4)),
        Form(lines=np.int64(4)),
    )
    plain = (
        Sampling(seed=7, top_k=5, temperature=0.5, top_p=0.5),
        BeamSearch(width=3, length_penalty=1.0),
        BestOf(4),
        Form(lines=4),
    )
    assert made == plain
    assert json.dumps([vars(made[0]), vars(made[1]), made[2].n, made[3].lines])
    assert {name: value.dtype for name, value in made[0].tensors().items()} == {
        name: value.dtype for name, value in plain[0].tensors().items()
    }


@pytest.mark.parametrize("value", [True, np.bool_(True), "7", 7.0, np.float64(7), None, np.array(7), float("nan")])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    for make in (lambda v: Sampling(seed=v), lambda v: BestOf(v), lambda v: Form(lines=v)):
        if value is None and make(4) == Form(lines=4):
            continue
        with pytest.raises(InvalidOption, match="must be a whole number, not"):
            make(value)


def test_large_numbers_are_told_with_all_their_digits() -> None:
    told = r"^seed must be from 0 to 9223372036854775807, not 9223372036854775808$"
    with pytest.raises(InvalidOption, match=told):
        Sampling(seed=2**63)
    with pytest.raises(InvalidOption, match=r"seed must be from 0 to 9223372036854775807, not -1$"):
        check_tensors({"seed": np.array([[-1]])})
    with pytest.raises(InvalidOption, match=r"temperature must be from 0.05 to 4, not 9$"):
        Sampling(temperature=9)


@pytest.fixture(scope="module")
def poet(repository: Path) -> Img2Poem:
    return Img2Poem(repository)


WRONG: dict[str, tuple[Callable[[Img2Poem], Any], str]] = {
    "name of a strategy": (lambda p: p.write(PHOTO, "greedy"), r"Greedy\(\), .* not 'greedy'"),
    "class of a strategy": (lambda p: p.write(PHOTO, Greedy), r"Greedy\(\), "),
    "strategy of a stream": (lambda p: list(p.stream(PHOTO, "greedy")), r"Greedy\(\), .* not 'greedy'"),
    "form": (lambda p: p.write(PHOTO, form={}), r"a Form, such as Form\(lines=4\), not \{\}"),
    "form of a stream": (lambda p: list(p.stream(PHOTO, form=4)), "a Form, such as"),
    "poem": (lambda p: p.score(PHOTO, None), "a string or a Poem, not None"),
    "poem to embed": (lambda p: p.embed_poem(b"the sea"), "a string or a Poem"),
    "poem in halves": (lambda p: p.embed_poem("the sea \ud83d"), "UTF-8"),
    "text to search": (lambda p: p.search(PHOTO, "the sea"), "a list of strings"),
    "nothing to search": (lambda p: p.search(PHOTO, None), "a list of strings"),
    "texts to search": (lambda p: p.search(PHOTO, ["the sea", None]), "a string or a Poem, not None"),
    "negative k": (lambda p: p.search(PHOTO, ["the sea"], -1), "k must be 1 or more, not -1"),
    "k": (lambda p: p.describe(PHOTO, "3"), "k must be a whole number, not '3'"),
    "timeout": (lambda p: p.info(timeout="5"), "timeout must be a number, not '5'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_arguments_of_methods(poet: Img2Poem, wrong: str) -> None:
    call, says = WRONG[wrong]
    with pytest.raises(InvalidOption, match=says):
        call(poet)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"headers": {"key": None}}, "header 'key' must be a string, not a NoneType"),
        ({"headers": {"key": b"secret"}}, "header 'key' must be a string, not a bytes"),
        ({"headers": [("key", "secret")]}, "headers must be a dictionary"),
        ({"tls": "ca.pem"}, "tls must be a Tls"),
        ({"hooks": print}, "hooks must be a list of functions"),
        ({"hooks": ["print"]}, "hooks must be a list of functions"),
        ({"retries": "3"}, "retries must be a whole number"),
        ({"concurrency": 1.5}, "concurrency must be a whole number"),
        ({"timeout": None}, "timeout must be a number"),
        ({"timeout": float("nan")}, "timeout must be a number"),
    ],
)
def test_arguments_of_the_client(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOption, match=says) as caught:
        Img2Poem("http://127.0.0.1:9", **options)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("target", [7, "", [], ["", "grpc://h:1"], [None], [b"grpc://h:1"]])
def test_what_is_no_target(target: Any) -> None:
    with pytest.raises(InvalidOption, match="a target is needed"):
        parse(target)


def test_an_address_as_a_path_is_told_from_a_folder() -> None:
    with pytest.raises(InvalidOption, match="is an address, not a folder"):
        Img2Poem(Path("grpc://127.0.0.1:8001"))
    done = run("write", "photo.jpg", "--engine", "grpc://h:1")
    assert done.returncode == 2 and "--url" in done.stderr and "export" not in done.stderr


def test_a_package_is_told_from_a_repository() -> None:
    weights = ROOT / "weights" / "lite"
    with pytest.raises(BadRepository, match=f"python -m export.all --weights {weights}$"):
        Img2Poem(weights)
    for command in (["write", "photo.jpg", "--engine", weights], ["serve", weights]):
        done = run(*command)
        assert done.returncode == 1 and "is a model package, not a repository" in done.stderr


def test_paths_of_certificates_may_be_texts(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificate")
    assert Tls(ca=str(tmp_path / "ca.pem")) == Tls(ca=tmp_path / "ca.pem")  # type: ignore[arg-type]
    for wrong in (7, b"ca.pem", ["ca.pem"]):
        with pytest.raises(InvalidOption, match="ca must be a path"):
            Tls(ca=wrong)  # type: ignore[arg-type]


def test_what_is_obviously_meant_is_done(poet: Img2Poem) -> None:
    texts = ["the sea at night", "an old temple"]
    expected = poet.search(PHOTO, texts, k=2)
    assert poet.search(PHOTO, (text for text in texts), k=np.int64(2)) == expected
    assert poet.search(PHOTO, np.array(texts), k=5) == expected
    assert all(type(match.poem) is str for match in poet.search(PHOTO, np.array(texts)))
    assert poet.write(PHOTO, None).tokens == poet.write(PHOTO).tokens
    poem = poet.write(PHOTO, Greedy())
    assert poet.search(PHOTO, [poem])[0].poem == poem.text
    assert poet.describe(PHOTO, np.int64(2)).objects == poet.describe(PHOTO, 2).objects
