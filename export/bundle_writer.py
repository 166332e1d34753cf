"""A run directory to a verified bundle, the next version of a model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.calibration import calibrate, held_out_views, typicality
from export.encoders import ENCODER_FILES, LowerEncoder, write_lower_encoders
from export.golden import write_golden
from export.graphs import OPSET, DecoderGraph, EncoderGraph, write_decoder, write_encoder
from export.parity import Parity, check_parity, open_graph
from export.versions import check_name, move_into_place, next_version, scratch_folder
from service.engine.bundle import MANIFEST, Precision, file_sha256
from service.engine.manifest import EmbeddingSpec, FileSpec, GraphSpec, Manifest, SourceSpec, TypicalitySpec
from service.engine.model import Model
from service.engine.results import Embeddings
from training.datasets.image_set import Source
from training.generative import GenerativeModel
from training.restore import TrainedRun, load_run
from training.run_directory import RunDirectory, now

__all__ = ["Exported", "export_run"]

_ENCODER, _DECODER, _GOLDEN = ENCODER_FILES["float32"], "decoder.onnx", "golden.npz"
_GOLDEN_IMAGES = 8
_PARITY_IMAGES = 64
_HELD_OUT_IMAGES = 10_000
_BATCH = 256
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Exported:
    """A finished bundle, where it lies and how far from torch it was found."""

    path: Path
    manifest: Manifest
    parity: Parity


@dataclass(frozen=True)
class _Graphs:
    """How far the graphs are from torch, and what the manifest says of the encoders in lower precision."""

    parity: Parity
    lower: tuple[GraphSpec, ...]


def export_run(
    run: RunDirectory,
    target: Path,
    source: Source,
    precisions: Sequence[Precision] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Exports a run as the next version of a model.

    Args:
        run: A run with a checkpoint; scores in its `evaluation.json` are carried over if they are that checkpoint's.
        target: `<models>/<name>`; the bundle becomes `<models>/<name>/<n>`, n one more than the largest there.
        source: The run's images.
        precisions: Of encoders beside the float32 one, which is always there.
        progress: Told what comes next.

    Raises:
        ValueError: The target's name cannot be a model's.
        RunError: No valid run. CheckpointError: no valid checkpoint.
        ParityError: The graphs do not compute what torch computes, or a precision loses too much; nothing is written.
        BundleError: The service would refuse the bundle; nothing is written.
    """
    check_name(target)
    trained = load_run(run, _CPU)
    model = _generative(trained)
    version = next_version(target)
    lower = [precision for precision in dict.fromkeys(precisions) if precision != "float32"]
    with scratch_folder(target) as folder:
        graphs = _write_graphs(model, lower, source, trained.record.config.seed, folder, progress)
        draft = _draft_manifest(run, trained, version=version, name=target.name, folder=folder, graphs=graphs)
        _write_manifest(folder, draft)
        progress("measuring with the code that serves")
        manifest = _measured(draft, folder, trained, source)
        _write_manifest(folder, manifest)
        progress("verifying the bundle")
        for graph in manifest.encoders:
            Model.load(folder, device="cpu", precision=graph.precision)
        path = move_into_place(folder, target, version)
    return Exported(path, manifest, graphs.parity)


def _generative(trained: TrainedRun) -> GenerativeModel:
    if isinstance(trained.model, GenerativeModel):
        return trained.model
    raise ValueError(
        f"expected a run of a generative objective, found {trained.record.config.objective.name}: a bundle holds a "
        "decoder and posterior variances, which it has not; train with --set objective.name=simvae"
    )


def _embedding_spec(model: GenerativeModel) -> EmbeddingSpec:
    """The prior of the latent space; without one over groups of views there is no likelihood ratio, as if flat."""
    prior = model.prior
    if prior is None:
        return EmbeddingSpec(dim=model.latent_dim, sigma2=1.0, tau2=None)
    sigma2, tau2 = (_plain(value) for value in (prior.sigma2, prior.tau2))
    return EmbeddingSpec(dim=model.latent_dim, sigma2=sigma2, tau2=tau2)


def _plain(value: float | torch.Tensor | None) -> Any:
    """A number, a tuple of numbers, or None."""
    if not isinstance(value, torch.Tensor):
        return value
    numbers = value.detach().tolist()
    return tuple(numbers) if isinstance(numbers, list) else numbers


def _write_graphs(
    model: GenerativeModel,
    precisions: Sequence[Precision],
    source: Source,
    seed: int,
    folder: Path,
    progress: Callable[[str], None],
) -> _Graphs:
    """Writes all graphs and the golden outputs, and measures what needs nothing else."""
    progress("writing the graphs")
    encoder, decoder, images = EncoderGraph(model).eval(), DecoderGraph(model).eval(), source.test.images
    write_encoder(encoder, model.shape, folder / _ENCODER)
    write_decoder(decoder, model.latent_dim, folder / _DECODER)
    sessions = (open_graph(folder / _ENCODER), open_graph(folder / _DECODER))
    parity = check_parity(encoder, decoder, sessions, np.array(images[:_PARITY_IMAGES]))
    lower: tuple[LowerEncoder, ...] = ()
    if precisions:
        progress(f"writing and measuring {' and '.join(precisions)}")
        lower = write_lower_encoders(model, precisions, source, seed, folder)
    write_golden(folder / _GOLDEN, np.array(images[:_GOLDEN_IMAGES]), (encoder, decoder), lower, sessions[1])
    return _Graphs(parity, tuple(each.spec for each in lower))


def _draft_manifest(
    run: RunDirectory,
    trained: TrainedRun,
    *,
    version: int,
    name: str,
    folder: Path,
    graphs: _Graphs,
) -> Manifest:
    """A valid manifest that lacks only what the bundle itself must be run for."""
    record = trained.record
    encoder, decoder, golden = (
        FileSpec(file=file, sha256=file_sha256(folder / file)) for file in (_ENCODER, _DECODER, _GOLDEN)
    )
    return Manifest(
        name=name,
        version=version,
        created=now(),
        objective=record.config.objective.name,
        source=SourceSpec(
            run=run.name,
            code_version=record.code_version,
            data=f"{Path(record.source).name}, {record.images} training images",
            command=record.command,
        ),
        input=record.input,
        embedding=_embedding_spec(_generative(trained)),
        typicality=TypicalitySpec(quantiles=(0.0, 1.0)),
        encoders=(GraphSpec(**dict(encoder), opset=OPSET, parity=graphs.parity.embedding), *graphs.lower),
        decoder=GraphSpec(**dict(decoder), opset=OPSET, parity=graphs.parity.image),
        golden=golden,
        evaluation=_scores(run, trained.step),
    )


def _measured(draft: Manifest, folder: Path, trained: TrainedRun, source: Source) -> Manifest:
    """The manifest with its calibration and typicality, measured by running the bundle as the service will."""
    model = Model.load(folder, device="cpu")
    config = trained.record.config
    unseen = source.test.images[:_HELD_OUT_IMAGES]
    views = held_out_views(unseen, config)
    left, right = zip(*((model.encode(first), model.encode(second)) for first, second in views), strict=True)
    calibration = calibrate(_joined(left), _joined(right), draft.embedding, config.seed)
    batches = (np.array(unseen[start : start + _BATCH]) for start in range(0, len(unseen), _BATCH))
    errors = [model.reconstruct(batch).squared_error for batch in batches]
    embedding = draft.embedding.model_copy(update={"calibration": calibration})
    return draft.model_copy(update={"embedding": embedding, "typicality": typicality(np.concatenate(errors))})


def _joined(parts: Sequence[Embeddings]) -> Embeddings:
    return Embeddings(np.concatenate([part.mean for part in parts]), np.concatenate([part.variance for part in parts]))


def _scores(run: RunDirectory, step: int) -> dict[str, float]:
    """What `evaluation.json` says of the latents, and the bounds; nothing when this model was not evaluated."""
    if not run.evaluation.exists():
        return {}
    evaluation = json.loads(run.evaluation.read_text(encoding="utf-8"))
    # of a checkpoint that training has left behind since, or by a protocol that is no longer spoken
    if evaluation["step"] != step or "representations" not in evaluation:
        return {}
    latents, bounds = evaluation["representations"][0], evaluation["likelihood"] or {}
    probes = ("linear", "mlp", "knn_cosine", "knn_euclidean", "knn_weighted", "squared_error")
    scores = {name: latents.get(name) for name in probes}
    scores |= {name: bounds.get(name) for name in ("elbo", "importance_weighted")}
    scores |= {"active_units": evaluation["health"]["active_units"]}
    scores |= {name: evaluation[name] for name in ("train_images", "test_images")}
    return {name: float(value) for name, value in scores.items() if value is not None}


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
