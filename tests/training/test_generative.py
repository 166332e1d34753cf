"""A pass computes the bound that its parts define, and a model holds what its likelihood has, no more."""

import pytest
import torch

from training.build import build_model
from training.config import Config
from training.generative import GenerativeModel
from training.likelihoods import bernoulli_log_prob, gaussian_log_prob, optimal_variance
from training.overrides import with_overrides


def model_of(config: Config, *settings: str) -> GenerativeModel:
    model = build_model(with_overrides(config.model_dump(exclude_defaults=True), list(settings)), (28, 28, 1))
    assert isinstance(model, GenerativeModel)
    return model


@pytest.mark.parametrize(
    "settings", [["sigma_x=optimal"], ["sigma_x=0.3"], ["sigma_x=learned"], ["likelihood=bernoulli", "beta=0.1"]]
)
def test_a_pass_is_the_likelihood_of_what_was_decoded_minus_the_divergence(
    tiny_config: Config, settings: list[str]
) -> None:
    model = model_of(tiny_config, *(f"objective.{setting}" for setting in settings))
    random = torch.Generator().manual_seed(0)
    views = torch.rand(6, 2, 1, 28, 28, generator=random)
    noise = model.draw_noise(6, 2, random)
    inferred = model.infer(views, noise)
    images = model.decode(inferred.latents.flatten(0, 1)).reshape(views.shape)
    if model.objective.likelihood == "bernoulli":
        expected = bernoulli_log_prob(views, images.logit())
    else:
        optimal = model.objective.sigma_x == "optimal"
        expected = gaussian_log_prob(
            views, images, optimal_variance(views, images) if optimal else model.pixel_variance
        )
    result = model(views, noise)
    assert result.elbo is not None
    assert result.squared_error is not None
    torch.testing.assert_close(result.elbo.log_likelihood, expected.mean(1), rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(result.elbo.kl, inferred.kl / 2)
    torch.testing.assert_close(
        result.loss, -(result.elbo.log_likelihood - model.objective.beta * inferred.kl / 2).mean()
    )
    torch.testing.assert_close(result.squared_error, (views - images).square().mean((1, 2, 3, 4)))


@pytest.mark.parametrize("sigma_x", ["optimal", "learned", 0.1])
def test_a_likelihood_without_a_variance_has_nothing_to_learn_of_it(tiny_config: Config, sigma_x: object) -> None:
    names = set(model_of(tiny_config, f"objective.sigma_x={sigma_x}", "objective.likelihood=bernoulli").state_dict())
    assert names == set(model_of(tiny_config, "objective.sigma_x=0.1").state_dict())
