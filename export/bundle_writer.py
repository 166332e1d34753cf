"""A run directory to a verified bundle, the next version of a model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.calibration import calibrate, held_out_views, typicality
from export.graphs import OPSET, DecoderGraph, EncoderGraph, write_graph
from export.parity import Parity, check_parity, open_graph
from export.versions import check_name, move_into_place, next_version, scratch_folder
from service.engine.bundle import MANIFEST, file_sha256
from service.engine.images import Pixels
from service.engine.manifest import EmbeddingSpec, FileSpec, GraphSpec, Manifest, SourceSpec, TypicalitySpec
from service.engine.model import Model
from service.engine.results import Embeddings
from training.datasets.image_set import Source
from training.generative import GenerativeModel
from training.restore import TrainedRun, load_run
from training.run_directory import RunDirectory, now

__all__ = ["Exported", "export_run"]

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


def export_run(
    run: RunDirectory, target: Path, source: Source, progress: Callable[[str], None] = lambda _: None
) -> Exported:
    """Exports a run as the next version of a model.

    Args:
        run: A run with a checkpoint; scores in its `evaluation.json` are carried over if they are that checkpoint's.
        target: `<models>/<name>`; the bundle becomes `<models>/<name>/<n>`, n one more than the largest there.
        source: The run's images.
        progress: Told what comes next.

    Raises:
        ValueError: The target's name cannot be a model's.
        RunError: No valid run. CheckpointError: no valid checkpoint.
        ParityError: The graphs do not compute what torch computes; nothing is written.
        BundleError: The service would refuse the bundle; nothing is written.
    """
    check_name(target)
    trained = load_run(run, _CPU)
    model = _generative(trained)
    version = next_version(target)
    with scratch_folder(target) as folder:
        progress("writing the graphs")
        parity = _write_graphs(model, source.test.images, folder)
        draft = _draft_manifest(run, trained, version=version, name=target.name, folder=folder, parity=parity)
        _write_manifest(folder, draft)
        progress("measuring with the code that serves")
        manifest = _measured(draft, folder, trained, source)
        _write_manifest(folder, manifest)
        progress("verifying the bundle")
        Model.load(folder, device="cpu")
        path = move_into_place(folder, target, version)
    return Exported(path, manifest, parity)


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


def _write_graphs(model: GenerativeModel, images: Pixels, folder: Path) -> Parity:
    encoder, decoder = EncoderGraph(model).eval(), DecoderGraph(model).eval()
    example = np.array(images[:4])
    pixels = torch.from_numpy(np.resize(example, (4, *example.shape[1:])))
    latents = torch.zeros(4, model.latent_dim)
    write_graph(encoder, pixels, folder / "encoder.onnx", inputs=["images"], outputs=["mean", "log_variance"])
    write_graph(decoder, latents, folder / "decoder.onnx", inputs=["latents"], outputs=["images"])
    sessions = (open_graph(str(folder / "encoder.onnx")), open_graph(str(folder / "decoder.onnx")))
    parity = check_parity(encoder, decoder, sessions, np.array(images[:_PARITY_IMAGES]))
    golden = np.array(images[:_GOLDEN_IMAGES])
    with torch.no_grad():
        mean, log_variance = encoder(torch.from_numpy(golden))
        decoded = decoder(mean)
    np.savez_compressed(
        folder / "golden.npz",
        images=golden,
        mean=mean.numpy(),
        log_variance=log_variance.numpy(),
        decoded=decoded.numpy(),
    )
    return parity


def _draft_manifest(
    run: RunDirectory,
    trained: TrainedRun,
    *,
    version: int,
    name: str,
    folder: Path,
    parity: Parity,
) -> Manifest:
    """A valid manifest that lacks only what the bundle itself must be run for."""
    record = trained.record
    encoder, decoder, golden = (
        FileSpec(file=file, sha256=file_sha256(folder / file))
        for file in ("encoder.onnx", "decoder.onnx", "golden.npz")
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
        encoders=(GraphSpec(**dict(encoder), opset=OPSET, parity=parity.embedding),),
        decoder=GraphSpec(**dict(decoder), opset=OPSET, parity=parity.image),
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
    scores = {name: latents[name] for name in ("linear", "mlp", "knn_cosine", "knn_euclidean", "squared_error")}
    scores |= {name: bounds.get(name) for name in ("elbo", "importance_weighted")}
    scores |= {"active_units": evaluation["health"]["active_units"]}
    scores |= {name: evaluation[name] for name in ("train_images", "test_images")}
    return {name: float(value) for name, value in scores.items() if value is not None}


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
