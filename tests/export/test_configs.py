"""Configs: the tracked ones are the output of export; Triton and its backends know every option."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from export import configs, warmup
from export.all import export
from export.build import model_configs
from export.ensembles import DECODERS
from export.graphs import graph_models
from export.repository import TRACKED
from export.served import INSTANCES, ServedModel, TensorSpec
from export.settings import FORMATS, Settings
from export.stream import DECODER
from img2poem.nn.model import PhotoToPoem
from img2poem.text.tokenizer import PoemTokenizer

from ..conftest import ROOT, WEIGHTS

#: Keys of ``parameters`` that the backends read: README.md and src/onnxruntime.cc of onnxruntime_backend (r24.10 to
#: r26.06); README.md of pytorch_backend; for the Python backend, those that our own models read.
PARAMETERS = {
    "onnxruntime": {
        *("intra_op_thread_count", "inter_op_thread_count", "execution_mode", "enable_mem_arena", "enable_mem_pattern"),
        *("memory.enable_memory_arena_shrinkage", "cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy"),
        *("do_copy_in_default_stream", "session.use_device_allocator_for_initializers"),
    },
    "pytorch": {
        *("DISABLE_OPTIMIZED_EXECUTION", "INFERENCE_MODE", "DISABLE_CUDNN", "ENABLE_WEIGHT_SHARING"),
        *("ENABLE_CACHE_CLEANING", "INTER_OP_THREAD_COUNT", "INTRA_OP_THREAD_COUNT", "ENABLE_JIT_EXECUTOR"),
        *("ENABLE_JIT_PROFILING", "ENABLE_TENSOR_FUSER"),
    },
    "python": {"streams", "state_dim"},
}
#: Options of the CUDA provider (onnxruntime, cuda_execution_provider_info.cc) that may be set at the accelerator: the
#: backend overwrites those that it also reads from ``parameters``.
CUDA_OPTIONS = {"use_tf32", "cudnn_conv_use_max_workspace", "use_ep_level_unified_stream", "cudnn_conv1d_pad_to_nc1d"}


Made = Callable[[Settings], dict[str, pb.ModelConfig]]


def read(text: str) -> pb.ModelConfig:
    return text_format.Parse(text, pb.ModelConfig())


@pytest.fixture(scope="module")
def gpu(made: Made) -> dict[str, pb.ModelConfig]:
    return made(Settings(device="gpu", formats=FORMATS))


@pytest.fixture(scope="module")
def cpu(repository: Path) -> dict[str, pb.ModelConfig]:
    return {path.parent.name: read(path.read_text()) for path in repository.glob("*/config.pbtxt")}


def on_gpu(found: dict[str, pb.ModelConfig]) -> Iterator[tuple[str, pb.ModelConfig]]:
    for name, config in found.items():
        if any(group.kind == pb.ModelInstanceGroup.KIND_GPU for group in config.instance_group):
            yield name, config


def test_the_tracked_ones_are_what_export_writes() -> None:
    known = {".pbtxt", ".txt", ".gitkeep"}
    found = [path for path in TRACKED.rglob("*") if path.is_file() and {path.suffix, path.name} & known]
    tracked = {path.relative_to(TRACKED).as_posix(): path.read_text(encoding="utf-8") for path in found}
    assert tracked == configs.tracked(WEIGHTS), "write them anew: python -m export.configs"


def test_an_export_for_gpus_fills_in_the_weights_and_changes_no_tracked_file(tmp_path: Path) -> None:
    out = Path(shutil.copytree(TRACKED, tmp_path / "out"))
    models = ("decoder_init", "poem_text", "img2poem_stream", "scene_encoder")
    export(WEIGHTS, out, Settings(device="gpu", models=models))
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    tracked = {path for path in written if (TRACKED / path).exists()}
    assert tracked >= {"README.md", "poem_text/config.pbtxt", "img2poem_stream/1/model.py", "scene_encoder/scores.txt"}
    for path in tracked:
        assert (out / path).read_bytes() == (TRACKED / path).read_bytes(), path
    weights = {f"{name}/1/model.onnx" for name in ("decoder_init", "poem_text", "scene_encoder")}
    assert written - tracked >= {"manifest.json", *weights}
    kinds = {name: read((out / name / "config.pbtxt").read_text()).instance_group[0].kind for name in models[:2]}
    assert [*kinds.values()] == [pb.ModelInstanceGroup.KIND_GPU, pb.ModelInstanceGroup.KIND_CPU]


def test_git_ignores_what_an_export_adds() -> None:
    for path in ("manifest.json", "decoder_step/1/model.onnx", "noise/warmup/seed", "quality.json"):
        assert subprocess.run(["git", "check-ignore", "-q", f"triton_repo/{path}"], cwd=ROOT).returncode == 0, path
    for path in ("noise/config.pbtxt", "decode_image/1/model.py", "img2poem/1/.gitkeep", "scene_encoder/scores.txt"):
        assert subprocess.run(["git", "check-ignore", "-q", f"triton_repo/{path}"], cwd=ROOT).returncode == 1, path


@pytest.mark.parametrize("where", ["gpu", "cpu"])
def test_every_parameter_is_one_that_the_backend_reads(where: str, request: pytest.FixtureRequest) -> None:
    found: dict[str, pb.ModelConfig] = request.getfixturevalue(where)
    for name, config in found.items():
        ours = {key for key in config.parameters if not key.startswith("img2poem.")}
        assert ours <= PARAMETERS.get(config.backend, set()), name
        for accelerator in config.optimization.execution_accelerators.gpu_execution_accelerator:
            assert accelerator.name == "cuda" and set(accelerator.parameters) <= CUDA_OPTIONS, name
        # A CUDA Loop accepts only the default of 1.
        assert "do_copy_in_default_stream" not in config.parameters, name
        # No request is held back to fill a batch.
        assert not config.dynamic_batching.max_queue_delay_microseconds, name
        # Triton would split 31 waiting requests into 16 + 8 + 4 + 3.
        assert not config.dynamic_batching.preferred_batch_size, name


def test_models_on_the_gpu_have_one_gpu_no_tf32_and_no_threads(gpu: dict[str, pb.ModelConfig]) -> None:
    assert len([*on_gpu(gpu)]) == 20
    for name, config in on_gpu(gpu):
        assert [[*group.gpus] for group in config.instance_group] == [[0]], name
        if config.backend == "onnxruntime":
            [accelerator] = config.optimization.execution_accelerators.gpu_execution_accelerator
            assert accelerator.parameters["use_tf32"] == "0", name
            found = {key: config.parameters[key].string_value for key in config.parameters}
            assert (found["cudnn_conv_algo_search"], found["arena_extend_strategy"]) == ("1", "1"), name
            alone = {"object_encoder", "scene_encoder", "sentiment_encoder", "poem_encoder"}
            rare = name in {*alone, "decoder_init", "decoder_step"}
            assert found.get("memory.enable_memory_arena_shrinkage") == ("gpu:0" if rare else None), name


@pytest.mark.parametrize("where", ["gpu", "cpu"])
def test_a_session_has_one_thread_unless_the_server_has_a_pool(where: str, request: pytest.FixtureRequest) -> None:
    for name, config in request.getfixturevalue(where).items():
        if config.backend == "onnxruntime":
            assert config.parameters["intra_op_thread_count"].string_value == "1", name


@pytest.mark.parametrize("where", ["gpu", "cpu"])
def test_limits_and_priorities_are_where_requests_wait_and_nowhere_can_stall(
    where: str, request: pytest.FixtureRequest
) -> None:
    """With one instance, a queue with either of them sometimes stalls for 500 ms: see ``export.triton``."""
    found: dict[str, pb.ModelConfig] = request.getfixturevalue(where)
    limited = {name for name, c in found.items() if c.dynamic_batching.default_queue_policy.max_queue_size}
    assert limited == {"decode_image", "img2poem_stream", DECODER, *DECODERS} - {"poem_decoder_candidates"}
    for name, config in found.items():
        assert bool(config.dynamic_batching.priority_levels) == (name in limited), name
        if name in limited:
            assert sum(group.count for group in config.instance_group) > 1, name


@pytest.fixture(scope="module")
def made(served: dict[str, ServedModel], package: tuple[PhotoToPoem, PoemTokenizer]) -> Made:
    """Returns the configs for given settings."""
    graphs = graph_models(package[0].config, package[1])
    return lambda settings: model_configs([*served.values()], graphs, package[0].config, settings, lambda name: {})


def count(config: pb.ModelConfig) -> int:
    return sum(group.count for group in config.instance_group)


def test_with_one_instance_no_queue_has_a_limit(made: Made) -> None:
    found = made(Settings(instances=1))
    for name in DECODERS:
        batching = found[name].dynamic_batching
        assert count(found[name]) == 1 and found[name].HasField("dynamic_batching")
        assert not batching.HasField("default_queue_policy") and not batching.priority_levels


def test_options_decide_how_often_models_are_loaded_and_what_they_may_take(made: Made) -> None:
    found = made(Settings(device="gpu", instances=3, photo_processes=5, streams=33, gpu_memory=1024))
    names = ("poem_decoder_beam", "image_encoder", "noise", "rerank", "decode_image")
    assert [count(found[name]) for name in names] == [3, 3, 3, 1, 5]
    assert found["img2poem_stream"].parameters["streams"].string_value == "17"  # for each of two processes
    assert found["poem_decoder_beam"].parameters["gpu_mem_limit"].string_value == str(2**30)


def test_the_profile_for_serving_saves_the_sessions_of_single_encoders_and_steps(made: Made) -> None:
    whole, serving = made(Settings(device="gpu")), made(Settings(device="gpu", profile="serving"))
    assert {name: count(whole[name]) for name in whole.keys() - serving.keys()} == {
        **dict.fromkeys(("object_encoder", "scene_encoder", "sentiment_encoder", "poem_encoder"), 1),
        **dict.fromkeys(("decoder_init", "decoder_step"), 2),
    }
    assert {name for name in whole if name.startswith("img2poem")} < serving.keys()


def test_every_gpu_model_is_warmed_largest_batch_first(gpu: dict[str, pb.ModelConfig]) -> None:
    for name, config in on_gpu(gpu):
        sizes = [warm.batch_size for warm in config.model_warmup]
        assert sizes == sorted(sizes, reverse=True) and sizes[0] == config.max_batch_size and sizes[-1] == 1, name
        pictures = any(tensor.data_type == pb.TYPE_UINT8 for tensor in config.input)
        assert len(sizes) == (32 if pictures else config.max_batch_size.bit_length()), name
        assert all(dim > 0 for w in config.model_warmup for t in w.inputs.values() for dim in t.dims), name
        names = [t.name for t in (*config.input, *config.output)]
        numbered = config.platform == "pytorch_libtorch"
        assert all(t.startswith(("INPUT__", "OUTPUT__")) == numbered for t in names), name


@pytest.mark.parametrize("largest", [1, 2, 3, 20, 32, 33, 256])
def test_batches_to_warm_begin_with_the_largest_and_end_with_one(largest: int) -> None:
    for dtype in (np.uint8, np.float32):
        sizes = warmup.batches([TensorSpec("x", dtype, (1,))], largest)
        assert sizes[0] == largest and sizes[-1] == 1 and sizes == sorted({*sizes}, reverse=True)
        if dtype is np.uint8:
            assert {*range(1, min(largest, 32) + 1)} <= {*sizes}


@pytest.mark.parametrize("model", sorted(DECODERS | {DECODER}))
def test_warming_up_decodes_a_poem(cpu: dict[str, pb.ModelConfig], repository: Path, model: str) -> None:
    """Run the requests that Triton makes from the config's warmup: with options of zero no step would be decoded."""
    session = onnxruntime.InferenceSession(repository / model / "1" / "model.onnx")
    [warm] = cpu[model].model_warmup
    types = {pb.TYPE_FP32: np.float32, pb.TYPE_INT64: np.int64}
    feed = {}
    for name, tensor in warm.inputs.items():
        shape, dtype = (1, *tensor.dims), types[tensor.data_type]
        if tensor.input_data_file:
            data = (repository / model / warmup.FOLDER / tensor.input_data_file).read_bytes()
            feed[name] = np.frombuffer(data, dtype).reshape(shape)
        else:
            feed[name] = np.zeros(shape, dtype)
    tokens = session.run(None, feed)[0]
    assert np.count_nonzero(tokens) >= (4 if model == DECODER else 16)


def test_settings_and_served_models_agree_on_the_usual_instances() -> None:
    assert Settings.instances == INSTANCES
