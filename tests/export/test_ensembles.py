"""The ensembles for best of n and for pixels on the real server."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from img2poem import BeamSearch, BestOf, Img2Poem, Sampling
from img2poem.images.decode import decode
from img2poem.serving.server import TritonServer


def infer(server: TritonServer, model: str, outputs: list[str], **tensors: NDArray[Any]) -> dict[str, NDArray[Any]]:
    inputs = []
    for name, value in tensors.items():
        inputs.append(triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
        inputs[-1].set_data_from_numpy(value)
    with triton.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as client:
        asked = [triton.InferRequestedOutput(name) for name in outputs]
        result = client.infer(model, inputs, outputs=asked, client_timeout=60)
    return {name: result.as_numpy(name) for name in outputs}


@pytest.mark.parametrize("model", ["img2poem_best", "img2poem_pixels"])
def test_any_choice_of_outputs_is_answered(server: TritonServer, photos: list[bytes], model: str) -> None:
    names = ["text", "tokens", "score", "length", "embedding"]
    if model == "img2poem_best":
        names.append("relevance")
        tensors = {"image": np.array([[photos[0]]], np.object_), **BestOf(2, Sampling(max_lines=4)).tensors()}
    else:
        tensors = {"pixels": decode(photos[0])[None], **BeamSearch(width=1, max_lines=4).tensors()}
    whole = infer(server, model, names, **tensors)
    for count in range(1, len(names)):
        for chosen in itertools.combinations(names, count):
            found = infer(server, model, list(chosen), **tensors)
            assert all(np.array_equal(found[name], whole[name]) for name in chosen)


@pytest.mark.parametrize(
    ("n", "says"),
    [([0, 0], "n must be from 1 to 32"), ([33, 33], "n must be from 1 to 32"), ([2, 3], "must_have_the_same_n")],
)
def test_an_n_that_cannot_be_says_why(server: TritonServer, photos: list[bytes], n: list[int], says: str) -> None:
    tensors = {name: np.repeat(value, 2, axis=0) for name, value in BestOf(2).tensors().items()}
    tensors |= {"image": np.array([photos[:1]] * 2, np.object_), "n": np.array(n)[:, None]}
    with pytest.raises(InferenceServerException, match=says):
        infer(server, "img2poem_best", ["text"], **tensors)


@pytest.mark.parametrize("n", [0, 33])
def test_an_n_that_cannot_be_says_why_without_the_ensemble_too(server: TritonServer, n: int) -> None:
    tensors = {"seed": np.array([[1]]), "n": np.array([[n]]), "embedding": np.zeros((1, 512), np.float32)}
    with pytest.raises(InferenceServerException, match="n_must_be_from_1_to_32"):
        infer(server, "candidate_noise", ["noise"], **tensors)


def test_rows_of_one_request_have_their_own_seeds(server: TritonServer, photos: list[bytes]) -> None:
    seeds = np.array([[3], [4], [3]])
    for model, strategy in (("img2poem_sample", Sampling()), ("img2poem_best", BestOf(2))):
        tensors = {name: np.repeat(value, 3, axis=0) for name, value in strategy.tensors().items()}
        tensors |= {"image": np.array([photos[:1]] * 3, np.object_), "seed": seeds}
        together = infer(server, model, ["tokens"], **tensors)["tokens"]
        alone = [
            infer(server, model, ["tokens"], **{name: value[i : i + 1] for name, value in tensors.items()})["tokens"][0]
            for i in range(3)
        ]
        assert np.array_equal(together, alone)
        assert np.array_equal(alone[0], alone[2]) and not np.array_equal(alone[0], alone[1])


def test_pixels_give_the_poem_of_the_photograph(server: TritonServer, photos: list[bytes]) -> None:
    with Img2Poem(server.grpc_url) as poet:
        for photo in photos[:3]:
            found = infer(server, "img2poem_pixels", ["text"], pixels=decode(photo)[None], **BeamSearch().tensors())
            assert found["text"][0, 0].decode() == poet.write(photo, BeamSearch()).text


def test_single_encoders_say_what_the_fused_one_says(server: TritonServer, photos: list[bytes]) -> None:
    pixels = np.stack([decode(photo) for photo in photos[:3]])
    fused = {"object": "object_scores", "scene": "scene_scores", "sentiment": "sentiment"}
    whole = infer(server, "image_encoder", [*fused.values()], pixels=pixels)
    for name, output in fused.items():
        alone = infer(server, f"{name}_encoder", ["features", "scores"], pixels=pixels)
        assert np.abs(alone["scores"] - whole[output]).max() < 1e-4
        assert len(alone["features"]) == 3
