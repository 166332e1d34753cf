"""The encoders of a bundle beside the float32 one: written, held against torch and float32, and refused if absurd."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.comparison import Answers, Questions, cosine, overlap, time_in_turns
from export.graphs import OPSET, EncoderGraph, write_encoder
from export.parity import Outputs, ParityError, Run, difference, open_graph, open_unfused, torch_outputs
from export.precisions import float16_graph, write_int8
from service.engine.bundle import GraphSpec, Precision, VersusFloat32, file_sha256
from training.datasets.image_set import Source
from training.evaluation.split import choose_items
from training.generative import GenerativeModel

__all__ = ["ENCODER_FILES", "LowerEncoder", "write_lower_encoders"]

ENCODER_FILES: dict[Precision, str] = {
    "float32": "encoder.onnx",
    "float16": "encoder.fp16.onnx",
    "int8": "encoder.int8.onnx",
}
_CALIBRATION_IMAGES = 2048
_COMPARED = 1024
_SLACK = 2.0
"""How many times the difference between two arithmetics a golden output may differ by on another machine."""
_LEAST_COSINE = 0.98
_MOST_LOSS_POINTS = 5.0


@dataclass(frozen=True, eq=False)
class LowerEncoder:
    """An encoder in lower precision, written and measured.

    Attributes:
        spec: What the manifest says of it.
        run: Runs it as the service does.
    """

    spec: GraphSpec
    run: Run


@dataclass(frozen=True, eq=False)
class _Written:
    """An encoder that was written; `other` is the same in another arithmetic than this machine's `run`."""

    precision: Precision
    file: Path
    run: Run
    other: Run


@dataclass(frozen=True, eq=False)
class _Yardstick:
    """What every encoder is held against: the answers of torch, which are the truth, and of the float32 graph."""

    questions: Questions
    torch: Outputs
    float32: Answers


def write_lower_encoders(
    model: GenerativeModel, precisions: Sequence[Precision], source: Source, seed: int, folder: Path
) -> tuple[LowerEncoder, ...]:
    """Writes an encoder for each precision and measures what it loses and gains.

    Args:
        model: In evaluation mode, on the CPU.
        precisions: Other than float32, each once.
        source: The run's images: some of the training images calibrate int8, held-out images measure.
        seed: Decides which images, where there are more than are needed.
        folder: Holds the float32 encoder; gets the others.

    Raises:
        ParityError: An encoder that loses more than anybody could want.
    """
    float32, questions = open_graph(folder / ENCODER_FILES["float32"]), Questions.about(source, seed)
    truth = questions.outputs(functools.partial(torch_outputs, EncoderGraph(model).eval()))
    yardstick = _Yardstick(questions, truth, questions.put(float32))
    encoders = [_write(model, precision, source, seed, folder) for precision in precisions]
    seconds = time_in_turns({"float32": float32} | {each.precision: each.run for each in encoders}, source.test.images)
    return tuple(
        LowerEncoder(_spec(each, yardstick, seconds["float32"], seconds[each.precision]), each.run) for each in encoders
    )


def _write(model: GenerativeModel, precision: Precision, source: Source, seed: int, folder: Path) -> _Written:
    file = folder / ENCODER_FILES[precision]
    if precision == "float16":
        graph = float16_graph(model)
        write_encoder(graph, model.shape, file)
        # ONNX Runtime lends float16 the arithmetic of float32 on most CPUs; torch rounds every layer, as a GPU does
        return _Written(precision, file, open_graph(file), functools.partial(torch_outputs, graph))
    items = choose_items(len(source.train), _CALIBRATION_IMAGES, seed)
    write_int8(folder / ENCODER_FILES["float32"], source.train.images[items], file)
    # without fusing, it rounds to 8 bits and computes in float32, as ONNX Runtime does where it has no integer kernels
    return _Written(precision, file, open_graph(file), open_unfused(file))


def _spec(
    encoder: _Written, yardstick: _Yardstick, float32_s: NDArray[np.float64], seconds: NDArray[np.float64]
) -> GraphSpec:
    found = yardstick.questions.put(encoder.run)
    alike, before = cosine(found.outputs, yardstick.float32.outputs), yardstick.float32.accuracy
    lost = None if before is None or found.accuracy is None else 100 * (before - found.accuracy)
    _refuse_absurd(encoder.precision, alike, lost or 0.0)
    return GraphSpec(
        file=encoder.file.name,
        sha256=file_sha256(encoder.file),
        opset=OPSET,
        precision=encoder.precision,
        parity=difference(yardstick.torch[:1], found.outputs[:1]),
        versus_float32=VersusFloat32(
            tolerance=_tolerance(encoder, yardstick, found),
            log_variance_parity=difference(yardstick.torch[1:], found.outputs[1:]),
            cosine=alike,
            overlap=overlap(found, yardstick.float32),
            knn_accuracy=found.accuracy,
            knn_loss_points=lost,
            images_per_second=1 / float(np.median(seconds)),
            speed=float(np.median(float32_s / seconds)),
        ),
    )


def _tolerance(encoder: _Written, yardstick: _Yardstick, found: Answers) -> float:
    """How far outputs may be from those here on another machine; an arithmetic that overflows there is refused."""
    other = yardstick.questions.first(_COMPARED).outputs(encoder.other)
    here, float32 = ([part[:_COMPARED] for part in answers.outputs] for answers in (found, yardstick.float32))
    _refuse_absurd(encoder.precision, cosine(other, float32), 0.0)
    return _SLACK * difference(here, other)


def _refuse_absurd(precision: Precision, alike: float, lost: float) -> None:
    if alike >= _LEAST_COSINE and lost <= _MOST_LOSS_POINTS:  # not so if the cosine is no number
        return
    raise ParityError(
        f"expected {precision} embeddings with a cosine of at least {_LEAST_COSINE} to those of float32 that lose at "
        f"most {_MOST_LOSS_POINTS:g} points of kNN accuracy, found {alike:.4f} and {lost:.1f} points; nothing "
        f"was exported: export without --precision {precision}."
    )
