"""A bundle is read whole and unchanged, or refused in one sentence that says file, expected and found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from service.engine.bundle import (
    MANIFEST,
    BundleError,
    EmbeddingSpec,
    Manifest,
    TypicalitySpec,
    file_sha256,
    find_bundles,
    read_bundle,
)

SHIPPED = Path(__file__).parents[3] / "models" / "fashion" / "1"


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny" / "1"))


def edit(bundle: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    change(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_a_bundle_is_read_as_it_was_written(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    assert bundle.manifest.reference == "tiny@1"
    assert bundle.manifest.input.shape == (28, 28, 1)
    assert bundle.golden().mean.shape == (3, 4)
    assert bundle.file(bundle.manifest.decoder) == tiny_bundle / "decoder.onnx"


@pytest.mark.parametrize("file", ["encoder.onnx", "decoder.onnx", "golden.npz"])
def test_a_changed_or_missing_file_is_refused(bundle: Path, file: str) -> None:
    data = bytearray((bundle / file).read_bytes())
    data[-1] ^= 1
    (bundle / file).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{file}: expected sha256 [0-9a-f]{{64}}, found"):
        read_bundle(bundle)
    (bundle / file).unlink()
    with pytest.raises(BundleError, match=rf"{file}: expected a file of the bundle, found none"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=2), "expected schema_version 1, found 2"),
        (lambda m: m.pop("schema_version"), "expected schema_version 1, found None"),
        (lambda m: m.update(surprise=1), "valid surprise"),
        (lambda m: m.pop("decoder"), "valid decoder"),
        (lambda m: m["decoder"].update(file="../decoder.onnx"), "valid decoder.file, found '../decoder.onnx'"),
        (lambda m: m["decoder"].update(file="/etc/passwd"), "valid decoder.file"),
        (lambda m: m["embedding"].update(sigma2=0.0), "sigma2 must be one positive number or 4"),
        (lambda m: m["embedding"].update(tau2=[0.5, 0.5]), "tau2 must be one positive number or 4"),
        (lambda m: m["embedding"].update(sigma2=float("nan")), "embedding"),
        (lambda m: m["typicality"].update(quantiles=[1.0, 0.5]), "ascend"),
        (lambda m: m["input"].update(height=0), "valid input.height, found 0"),
        (lambda m: m.update(name="Bad Name"), "valid name"),
    ],
)
def test_a_manifest_that_is_wrong_says_where(bundle: Path, change: Callable[[dict], object], message: str) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError) as caught:
        read_bundle(bundle)
    assert message in str(caught.value)
    assert str(bundle / MANIFEST) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(bundle)) + 300


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "\udcff", "[" * 100_000])
def test_a_manifest_that_is_no_manifest_is_refused(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError, match="expected"):
        read_bundle(bundle)


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a readable manifest, found No such file"):
        read_bundle(tmp_path)


def test_a_link_that_leaves_the_bundle_is_refused(bundle: Path) -> None:
    outside = bundle.parent / "decoder.onnx"
    (bundle / "decoder.onnx").rename(outside)
    (bundle / "decoder.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="expected a file inside the bundle, found a link to"):
        read_bundle(bundle)


def replace_golden(bundle: Path, **arrays: np.ndarray) -> None:
    np.savez(bundle / "golden.npz", **arrays)
    edit(bundle, lambda m: m["golden"].update(sha256=file_sha256(bundle / "golden.npz")))


def test_golden_arrays_of_another_shape_are_refused(bundle: Path) -> None:
    golden = vars(read_bundle(bundle).golden())
    replace_golden(bundle, **golden | {"mean": golden["mean"][:2]})
    with pytest.raises(
        BundleError, match=r"expected mean for 3 images of shape \[4\], found float32 of shape \[2, 4\]"
    ):
        read_bundle(bundle).golden()
    replace_golden(bundle, **{name: array[:0] for name, array in golden.items()})
    with pytest.raises(BundleError, match="expected images for 1 images"):
        read_bundle(bundle).golden()
    replace_golden(bundle, images=golden["images"])
    with pytest.raises(BundleError, match="expected the golden arrays, found"):
        read_bundle(bundle).golden()


def test_golden_objects_are_never_unpickled(bundle: Path) -> None:
    golden = vars(read_bundle(bundle).golden())
    replace_golden(bundle, **golden | {"mean": np.array([{}], dtype=object)})
    with pytest.raises(BundleError, match="expected the golden arrays"):
        read_bundle(bundle).golden()


def test_every_precision_has_golden_outputs_of_its_own(make_bundle: Callable[..., Path]) -> None:
    bundle = read_bundle(make_bundle(precisions=["int8"]))
    whole, rounded = bundle.golden(), bundle.golden("int8")
    np.testing.assert_array_equal(whole.images, rounded.images)
    assert 0 < np.abs(whole.mean - rounded.mean).max() < 0.1
    assert not np.array_equal(whole.log_variance, rounded.log_variance)
    with pytest.raises(BundleError, match=r"golden\.npz: expected the golden arrays, found .*mean_float16"):
        bundle.golden("float16")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["encoders"][0].update(versus_float32=m["encoders"][1]["versus_float32"]),
        lambda m: m["encoders"][1].update(versus_float32=None),
    ],
)
def test_what_a_precision_costs_is_known_of_every_one_but_float32(
    make_bundle: Callable[..., Path], change: Callable[[dict], object]
) -> None:
    bundle = make_bundle(precisions=["float16"])
    edit(bundle, change)
    with pytest.raises(BundleError, match="versus_float32 must be there for every precision but float32"):
        read_bundle(bundle)


def test_a_repository_lists_its_bundles_and_a_bundle_itself(tiny_models: Path, tmp_path: Path) -> None:
    tiny, rgb = tiny_models / "tiny" / "1", tiny_models / "tiny-rgb" / "1"
    assert set(find_bundles(tiny_models)) == {tiny, rgb}
    assert find_bundles(tiny) == [tiny]
    for hidden in (tmp_path / "tiny" / ".2.part", tmp_path / ".trash" / "1"):
        shutil.copytree(tiny, hidden)
    with pytest.raises(BundleError, match="found no bundle in it"):
        find_bundles(tmp_path)
    with pytest.raises(BundleError, match="found no directory there"):
        find_bundles(tmp_path / "nowhere")


def test_bundles_are_listed_by_name_and_number(tiny_bundle: Path, tmp_path: Path) -> None:
    listed = [tmp_path / name / version for name in ("a", "b") for version in ("1", "9", "10", "100")]
    for path in reversed(listed):
        shutil.copytree(tiny_bundle, path)
    assert find_bundles(tmp_path) == listed


def test_the_fingerprint_changes_with_the_graph_and_the_preprocessing_and_with_nothing_else(tiny_bundle: Path) -> None:
    manifest = read_bundle(tiny_bundle).manifest
    fingerprint = manifest.fingerprint("float32")
    graph = manifest.encoders[0].model_copy(update={"sha256": "0" * 64})
    spec = manifest.input.model_copy(update={"resample": "lanczos"})
    assert manifest.model_copy(update={"name": "other", "version": 9}).fingerprint("float32") == fingerprint
    assert manifest.model_copy(update={"encoders": (graph,)}).fingerprint("float32") != fingerprint
    assert manifest.model_copy(update={"input": spec}).fingerprint("float32") != fingerprint
    with pytest.raises(BundleError, match="expected an encoder in int8, found float32"):
        manifest.fingerprint("int8")


def test_a_bundle_from_before_scaled_decoding_keeps_its_fingerprint_and_with_it_gets_another() -> None:
    manifest = read_bundle(SHIPPED).manifest
    assert not manifest.input.scaled_jpeg
    assert "scaled_jpeg" not in manifest.model_dump_json()
    assert manifest.fingerprint("float32") == "6772674f862dc7d0"
    scaled = manifest.model_copy(update={"input": manifest.input.model_copy(update={"scaled_jpeg": True})})
    assert Manifest.model_validate_json(scaled.model_dump_json()) == scaled
    assert scaled.fingerprint("float32") != manifest.fingerprint("float32")


def test_a_flat_prior_and_one_value_per_dimension_are_valid() -> None:
    assert EmbeddingSpec(dim=2, sigma2=(0.1, 0.2), tau2=None).tau2 is None
    with pytest.raises(ValidationError):
        EmbeddingSpec(dim=2, sigma2=0.1, tau2=float("inf"))


def test_typicality_is_the_share_of_held_out_images_that_reconstruct_worse() -> None:
    errors = np.sort(np.random.default_rng(0).gamma(2, 0.01, 1001))
    spec = TypicalitySpec(quantiles=tuple(np.quantile(errors, np.linspace(0, 1, 101))))
    asked = np.quantile(errors, [0, 0.1, 0.5, 0.77, 1]).astype(np.float32)
    worse = (errors[:, None] > asked).mean(axis=0)
    np.testing.assert_allclose(spec.share_above(asked), worse, atol=0.01)
    np.testing.assert_array_equal(spec.share_above(np.array([-1, 9], np.float32)), [1, 0])
