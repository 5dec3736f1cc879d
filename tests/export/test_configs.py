"""The configs of GPU servers: committed as text, and what export writes."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from export import configs
from export.all import export
from export.settings import Settings

from ..conftest import WEIGHTS


def test_the_committed_ones_are_what_export_writes() -> None:
    committed = {path.stem: path.read_text(encoding="utf-8") for path in configs.FOLDER.glob("*.pbtxt")}
    assert committed == configs.texts(WEIGHTS), "write them anew: python -m export.configs"


def test_an_export_for_gpus_writes_them_with_stamps(tmp_path: Path) -> None:
    export(WEIGHTS, tmp_path / "out", Settings(device="gpu", models=("decoder_init", "poem_text")))
    for name, kind in (("decoder_init", "KIND_GPU"), ("poem_text", "KIND_CPU")):
        written = text_format.Parse((tmp_path / "out" / name / "config.pbtxt").read_text(), pb.ModelConfig())
        assert pb.ModelInstanceGroup.Kind.Name(written.instance_group[0].kind) == kind
        for key in [key for key in written.parameters if key.startswith("img2poem.")]:
            del written.parameters[key]
        assert written == text_format.Parse((configs.FOLDER / f"{name}.pbtxt").read_text(), pb.ModelConfig())


def test_every_gpu_model_is_warmed_for_each_preferred_batch() -> None:
    for name, text in configs.texts(WEIGHTS).items():
        config = text_format.Parse(text, pb.ModelConfig())
        if any(group.kind == pb.ModelInstanceGroup.KIND_GPU for group in config.instance_group):
            preferred = [*config.dynamic_batching.preferred_batch_size]
            assert preferred[-1] == config.max_batch_size, name
            assert [w.batch_size for w in config.model_warmup] == [1, *preferred], name
            assert all(dim > 0 for w in config.model_warmup for t in w.inputs.values() for dim in t.dims), name
            names = [t.name for t in (*config.input, *config.output)]
            numbered = config.platform == "pytorch_libtorch"
            assert all(t.startswith(("INPUT__", "OUTPUT__")) == numbered for t in names), name
