"""A configuration is refused with its key, what was expected and what was found, or it is runnable."""

import pytest

from training.overrides import ConfigError, load_preset, preset_names, with_overrides


def test_every_preset_is_valid() -> None:
    assert preset_names() == ["demo", "fashion", "folder", "paper", "tiny"]
    for name in preset_names():
        with_overrides(load_preset(name), [])


def test_overrides_reach_every_depth_and_type() -> None:
    config = with_overrides(
        load_preset("tiny"),
        ["epochs=7", "objective.rho=0.5", "views.crop_area=[0.5, 1]", "network.encoder=mlp", "objective.flat=true"],
    )
    assert (config.epochs, config.objective.rho, config.views.crop_area) == (7, 0.5, (0.5, 1.0))
    assert (config.network.encoder, config.objective.flat) == ("mlp", True)


def test_overrides_leave_the_preset_as_it_was() -> None:
    values = load_preset("tiny")
    with_overrides(values, ["network.width=9"])
    assert values == load_preset("tiny")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("objective.rho=1.5", r"objective\.rho: expected a number between 0 and 1.*found 1\.5"),
        ("objective.roh=0.5", r"objective\.roh.*not permitted"),
        ("epochs=0", r"epochs.*greater than or equal to 1"),
        ("epochs", r"expected key=value.*found 'epochs'"),
        ("epochs.more=1", r"epochs.*found"),
        ("optimiser.batch=511", r"multiple of views\.count = 2, found 511$"),
        ("views.crop_area=[0.6, 0.1]", r"^views: crop_area must be .*, found \[0\.6, 0\.1\]$"),
        ("network.encoder=transformer", r"network\.encoder.*'conv' or 'mlp'"),
    ],
)
def test_a_wrong_override_names_its_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_overrides(load_preset("tiny"), [override])


def test_a_preset_without_epochs_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"^epochs: Field required, found nothing$"):
        with_overrides({"images": {"size": 32}}, [])


def test_a_flat_prior_needs_two_views() -> None:
    with pytest.raises(ConfigError, match="at least 2, found 1"):
        with_overrides(load_preset("tiny"), ["objective.flat=true", "views.count=1"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objective.temperature=0.1"], "simvae has no setting temperature; it belongs to simclr"),
        (["objective.name=vae", "objective.beta=4"], "vae has no setting beta; it belongs to simvae, beta-vae, cr-vae"),
        (["objective.name=vicreg", "objective.sigma_x=learned"], "vicreg has no setting sigma_x"),
        (["objective.flat=true", "objective.rho=learned"], "flat.*found rho = learned"),
        (["objective.flat=true", "objective.posterior=structured"], "flat.*found posterior = structured"),
        (["objective.name=simclr", "views.count=1"], "simclr needs views.count of at least 2, found 1"),
        (["objective.sigma_x=0"], r"objective\.sigma_x: expected a positive number, learned or optimal, found 0"),
    ],
)
def test_an_objective_is_told_only_what_it_can_use(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_overrides(load_preset("tiny"), overrides)


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match="demo, fashion, folder, paper, tiny"):
        load_preset("tinny")
