"""The loop: it learns, it resumes to the bit, it stops when asked and when the loss is no number."""

import dataclasses
from pathlib import Path

import pytest
import torch

import training.trainer
from training.build import build_model, make_fabric
from training.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from training.config import Config, ViewsConfig
from training.datasets.image_set import ImageSet, Source
from training.overrides import load_preset, with_overrides
from training.run_directory import RunDirectory
from training.schedule import averaging_decay, learning_rate
from training.trainer import DivergedError, train
from training.views import make_views


def run_in(path: Path) -> RunDirectory:
    path.mkdir()
    return RunDirectory(path)


def trained(run: RunDirectory, config: Config, source: Source, stops: int = 0) -> Checkpoint:
    """Trains; if asked to, stops once after so many steps and resumes from disk."""
    fabric = make_fabric("cpu", config.optimiser.precision)
    if stops:
        countdown = iter(range(stops))
        assert not train(run, config, source, fabric=fabric, stop=lambda: next(countdown, None) is None)
    assert train(run, config, source, fabric=fabric)
    return load_checkpoint(run.checkpoint)


def assert_same(first: Checkpoint, second: Checkpoint) -> None:
    assert first.step == second.step
    for one, other in ((first.model, second.model), (first.ema, second.ema)):
        for name, value in one.items():
            assert torch.equal(value, other[name]), name
    moments = [state["exp_avg_sq"] for state in first.optimiser["state"].values()]
    others = [state["exp_avg_sq"] for state in second.optimiser["state"].values()]
    assert all(map(torch.equal, moments, others))


@pytest.mark.parametrize("stops", [1, 3, 16, 20, 33])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, tiny_config: Config, blobs: Source, stops: int, precision: str
) -> None:
    optimiser = tiny_config.optimiser.model_copy(update={"precision": precision, "batch": 64})
    config = tiny_config.model_copy(update={"optimiser": optimiser})
    straight, resumed = run_in(tmp_path / "straight"), run_in(tmp_path / "resumed")
    assert_same(trained(straight, config, blobs), trained(resumed, config, blobs, stops))
    timeless = [
        [{key: value for key, value in row.items() if key != "elapsed_s"} for row in run.read_metrics()]
        for run in (straight, resumed)
    ]
    assert timeless[0] == timeless[1]
    assert [row["epoch"] for row in timeless[0]] == [1, 2, 3]


def test_metrics_written_after_the_checkpoint_are_not_counted_twice(
    tmp_path: Path, tiny_config: Config, blobs: Source
) -> None:
    run = run_in(tmp_path / "run")
    countdown = iter(range(17))
    fabric = make_fabric("cpu", "32-true")
    train(run, tiny_config, blobs, fabric=fabric, stop=lambda: next(countdown, None) is None)
    run.append_metrics({"epoch": 2, "step": 32, "elbo": 0.0})  # as if killed between the two writes
    train(run, tiny_config, blobs, fabric=fabric)
    assert [row["epoch"] for row in run.read_metrics()] == [1, 2, 3]


def test_a_run_that_dies_right_after_a_checkpoint_lacks_no_line_of_metrics(
    tmp_path: Path, tiny_config: Config, blobs: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(tmp_path / "run")
    whole = training.trainer.save_checkpoint

    def interrupted(path: Path, checkpoint: Checkpoint) -> None:
        """The first epoch's is written, and the machine stops before anything else is."""
        whole(path, checkpoint)
        if checkpoint.step == 16:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.trainer, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(run, tiny_config, blobs)
    trained(run, tiny_config, blobs)
    assert [row["epoch"] for row in run.read_metrics()] == [1, 2, 3]


def test_every_line_of_metrics_has_the_same_keys_and_finite_numbers(
    tmp_path: Path, tiny_config: Config, blobs: Source
) -> None:
    run = run_in(tmp_path / "run")
    trained(run, tiny_config, blobs)
    rows = run.read_metrics()
    assert len({tuple(row) for row in rows}) == 1
    assert torch.tensor([list(row.values()) for row in rows]).isfinite().all()


def test_training_learns_more_than_the_mean_image_of_images_it_never_saw(tmp_path: Path, blobs: Source) -> None:
    easy = ["views.crop_area=[0.8, 1]", "views.flip=0", "network.decoder=mlp", "network.decoder_hidden=[64]"]
    config = with_overrides(load_preset("tiny"), ["optimiser.batch=32", "network.width=16", "epochs=30", *easy])
    images = torch.from_numpy(blobs.test.images.copy())
    views = make_views(images, config.views, torch.Generator().manual_seed(0))
    mean_image_error = (views - views.mean((0, 1))).square().mean().item()
    run = run_in(tmp_path / "run")
    trained(run, config, blobs)
    first, *_, last = run.read_metrics()
    assert last["held_out_elbo"] > first["held_out_elbo"] + 100
    assert last["held_out_squared_error"] < 0.4 * mean_image_error


def test_seeds_differ_from_the_first_weight_on(tiny_config: Config, blobs: Source) -> None:
    models = [
        dict(build_model(tiny_config.model_copy(update={"seed": seed}), blobs.input.shape).named_parameters())
        for seed in (0, 1, 0)
    ]
    assert all(torch.equal(models[0][name], models[2][name]) for name in models[0])
    assert not any(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_building_a_model_leaves_the_global_generator_alone(tiny_config: Config) -> None:
    before = torch.get_rng_state()
    build_model(tiny_config, (28, 28, 1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_diverging_run_stops_with_its_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, tiny_config: Config, blobs: Source
) -> None:
    run = run_in(tmp_path / "run")
    fabric = make_fabric("cpu", "32-true")
    calls = iter(range(16))
    train(run, tiny_config, blobs, fabric=fabric, stop=lambda: next(calls, None) is None)
    kept = load_checkpoint(run.checkpoint)
    wild = tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"lr": 1e30})})
    with pytest.raises(
        DivergedError, match=r"at step \d+ of 48 \(epoch 2\).*learning rate.*optimiser\.lr=3e\+29.*from before"
    ):
        train(run, wild, blobs, fabric=fabric)
    assert load_checkpoint(run.checkpoint).step == kept.step


def test_weights_that_the_last_step_of_an_epoch_threw_away_are_not_kept(
    tmp_path: Path, tiny_config: Config, blobs: Source
) -> None:
    run = run_in(tmp_path / "run")
    one_step = dataclasses.replace(blobs, train=ImageSet(blobs.train.images[:1]))
    wild = tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"lr": 1e30})})
    with pytest.raises(DivergedError, match=r"held-out loss became .* at step 1 of 3 .*no checkpoint was written"):
        train(run, wild, one_step, fabric=make_fabric("cpu", "32-true"))
    assert not list(run.path.iterdir())


def test_a_checkpoint_of_another_network_is_not_resumed(tmp_path: Path, tiny_config: Config, blobs: Source) -> None:
    run = run_in(tmp_path / "run")
    train(run, tiny_config, blobs, fabric=make_fabric("cpu", "32-true"), stop=lambda: True)
    other = tiny_config.model_copy(update={"network": tiny_config.network.model_copy(update={"latent_dim": 3})})
    with pytest.raises(CheckpointError, match=r"network in config\.json, found another's"):
        train(run, other, blobs, fabric=make_fabric("cpu", "32-true"))


def test_fewer_images_than_a_batch_and_one_view_still_train(tmp_path: Path, blobs: Source) -> None:
    config = with_overrides(load_preset("tiny"), ["views.count=1", "epochs=2"])
    few = Source("few", blobs.input, ImageSet(blobs.train.images[:5]), ImageSet(blobs.test.images[:1]))
    assert trained(run_in(tmp_path / "run"), config, few).step == 10


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    optimiser = with_overrides(load_preset("demo"), []).optimiser
    rates = [learning_rate(step, 1_000, optimiser) for step in range(1_000)]
    assert max(rates) == pytest.approx(optimiser.lr)
    assert rates.index(max(rates)) in {49, 50}
    assert rates == sorted(rates[:50]) + sorted(rates[50:], reverse=True)
    assert rates[-1] < 1e-4 * optimiser.lr
    assert averaging_decay(0, optimiser) == 0.1
    assert averaging_decay(10**6, optimiser) == optimiser.ema_decay


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "tpu:0"])
def test_an_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match="expected a device of auto, cpu, cuda"):
        make_fabric(device, "32-true")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_demanded_gpu_that_is_absent_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"expected a GPU.*choose cpu"):
        make_fabric("cuda", "32-true")


def test_views_per_image_divide_the_batch() -> None:
    with pytest.raises(ValueError, match="multiple of"):
        Config(epochs=1, views=ViewsConfig(count=3))


class Listener:
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.warnings: list[str] = []

    def step(self, step: int, total: int) -> None: ...

    def epoch(self, row: dict[str, float], warnings: list[str]) -> None:
        self.rows.append(row)
        self.warnings += warnings


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("objective.sigma_x=30", "posterior is the prior"),
        ("objective.sigma_x=0.1", None),
        ("objective.name=vicreg", None),
    ],
)
def test_a_run_says_that_it_collapsed_and_a_healthy_one_says_nothing(
    tmp_path: Path, blobs: Source, setting: str, expected: str | None
) -> None:
    config = with_overrides(load_preset("tiny"), ["optimiser.batch=32", "epochs=50", setting])
    heard = Listener()
    train(run_in(tmp_path / "run"), config, blobs, fabric=make_fabric("cpu", "32-true"), observers=[heard])
    assert len(heard.rows) == 50
    if expected is None:
        assert heard.warnings == []
        assert {row["alarms"] for row in heard.rows} == {0.0}
    else:
        assert expected in " ".join(heard.warnings)
        assert heard.rows[-1]["alarms"] >= 1
