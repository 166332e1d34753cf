"""What a precision is said to lose is what a slow count of neighbours finds."""

import dataclasses

import numpy as np
import pytest
import torch

import export.comparison
from export.comparison import Questions, cosine, overlap, time_in_turns
from export.parity import Outputs
from service.engine.images import InputSpec, Pixels
from training.datasets.image_set import ImageSet, Source
from training.evaluation.probes import Codes, knn_accuracy

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(size=(16, 6)).astype(np.float32)


def pile(count: int) -> ImageSet:
    images, labels = RANDOM.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8), RANDOM.integers(0, 2, count)
    images[labels == 1, :2] //= 2  # the upper half is darker
    return ImageSet(images, labels)


@pytest.fixture(scope="module")
def source() -> Source:
    return Source("noise", InputSpec(height=4, width=4, colour_mode="L"), pile(700), pile(300))


def project(images: Pixels) -> Outputs:
    mean = images.reshape(len(images), -1).astype(np.float32) / 255 @ MATRIX
    return [mean, -mean]


def coarse(images: Pixels) -> Outputs:
    """The same, of images with two grey levels."""
    return project((images > 128).astype(np.uint8) * 255)


def test_neighbours_and_accuracy_are_those_of_the_evaluation(source: Source) -> None:
    found = Questions.about(source, seed=0).put(project)
    known, asked = project(source.train.images)[0], project(source.test.images)[0]
    assert source.train.labels is not None
    assert source.test.labels is not None
    here = torch.device("cpu")
    codes = Codes(known, source.train.labels, test=asked, test_labels=source.test.labels, device=here)
    assert found.accuracy == pytest.approx(knn_accuracy(codes, cosine=True))
    assert 0.6 < found.accuracy < 1
    similar = (known / np.linalg.norm(known, axis=1, keepdims=True)) @ asked[7]
    assert found.neighbours[7].tolist() == np.argsort(-similar)[:20].tolist()
    np.testing.assert_allclose(found.outputs, [asked, -asked])


def test_overlap_counts_neighbours_that_both_find(source: Source) -> None:
    questions = Questions.about(source, seed=0)
    found, other = questions.put(project), questions.put(coarse)
    assert overlap(found, found) == 1
    slow = np.mean([len(set(a) & set(b)) / 20 for a, b in zip(found.neighbours, other.neighbours, strict=True)])
    assert overlap(other, found) == pytest.approx(slow)
    assert 0.1 < slow < 0.9
    turned = dataclasses.replace(found, neighbours=found.neighbours[:, ::-1])
    assert overlap(turned, found) == 1  # their order does not count


def test_cosine_compares_directions_and_is_no_number_where_an_embedding_is_none() -> None:
    mean = RANDOM.normal(size=(9, 5)).astype(np.float32)
    turned = np.concatenate([mean[:6], -mean[6:]])
    assert cosine([3 * mean], [mean]) == pytest.approx(1)
    assert cosine([turned], [mean]) == pytest.approx(6 / 9 - 3 / 9)
    assert np.isnan(cosine([np.where(mean > 1, np.float32("nan"), mean)], [mean]))


def test_without_labels_there_is_no_accuracy_and_with_few_images_fewer_neighbours(source: Source) -> None:
    train, test = ImageSet(source.train.images[:5]), ImageSet(source.test.images[:3])
    found = Questions.about(dataclasses.replace(source, train=train, test=test), seed=0).put(project)
    assert found.accuracy is None
    assert found.neighbours.shape == (3, 5)


def test_of_a_large_source_the_seed_chooses(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export.comparison, "_INDEX_IMAGES", 50)
    monkeypatch.setattr(export.comparison, "_ASKED_IMAGES", 30)
    first, again, other = (Questions.about(source, seed) for seed in (0, 0, 1))
    assert (len(first.index), len(first.asked)) == (50, 30)
    assert np.array_equal(first.index, again.index)
    assert not np.array_equal(first.index, other.index)
    found = first.put(project)
    np.testing.assert_array_equal(found.outputs[0], project(source.test.images[first.asked])[0])
    assert found.neighbours.max() < 50
    assert len(first.first(4).outputs(project)[0]) == 4


def test_encoders_take_turns_with_batches_of_32(source: Source) -> None:
    calls: list[tuple[str, int]] = []
    encoders = {name: lambda images, name=name: calls.append((name, len(images))) or [] for name in ("a", "b", "c")}
    seconds = time_in_turns(encoders, source.test.images[:3])  # type: ignore[arg-type]
    assert calls == [(name, 32) for _ in range(len(calls) // 3) for name in ("a", "b", "c")]
    assert all(each.shape == (40,) and (each > 0).all() for each in seconds.values())
