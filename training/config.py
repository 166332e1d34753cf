"""What a run is told: a frozen, validated configuration, read from a preset and overridden by flags.

Everything that changes the result is here and is stored in the run's `config.json`. Where the data lie and which
device computes is not: the same configuration must mean the same experiment everywhere.
"""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

__all__ = [
    "Config",
    "ImagesConfig",
    "NetworkConfig",
    "ObjectiveConfig",
    "OptimiserConfig",
    "ViewsConfig",
]

Share = Annotated[float, Field(ge=0, le=1)]

Area = Annotated[float, Field(ge=0, le=4)]

ObjectiveName = Literal["simvae", "vae", "beta-vae", "cr-vae", "simclr", "vicreg"]

_SETTINGS = {
    "simvae": ("rho", "flat", "posterior", "likelihood", "sigma_x", "beta"),
    "vae": ("likelihood", "sigma_x"),
    "beta-vae": ("likelihood", "sigma_x", "beta"),
    "cr-vae": ("likelihood", "sigma_x", "beta", "consistency"),
    "simclr": ("temperature", "projection"),
    "vicreg": ("invariance", "variance", "covariance", "projection"),
}
"""The settings that each objective has."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImagesConfig(_Section):
    """How a folder's images are brought to one shape; sources with a shape of their own ignore it.

    Attributes:
        size: Height and width in pixels, 28 to 128.
        colour_mode: `L` (grey) or `RGB`.
        resize: `cover` (crop), `contain` (pad) or `stretch`.
        scaled_jpeg: Decode JPEGs far larger than `size` at a half, a quarter or an eighth; see `InputSpec`. A run that
            was recorded before this existed has an input without it, which decides.
    """

    size: int = Field(64, ge=28, le=128)
    colour_mode: Literal["L", "RGB"] = "RGB"
    resize: Literal["cover", "contain", "stretch"] = "cover"
    scaled_jpeg: bool = True


class ViewsConfig(_Section):
    """How a view differs from its image; this defines what counts as the same content.

    Attributes:
        count: Views per image, J ≥ 1.
        crop_area: Smallest and largest area of the crop as a share of the image's, up to 4; above 1 the image becomes
            smaller in its view, at a random place, and its border continues outwards.
        crop_aspect: Smallest and largest width/height of the crop.
        flip: Probability of a horizontal mirror image.
        brightness: Largest relative change; likewise `contrast` and `saturation`.
        contrast: See `brightness`.
        saturation: See `brightness`; for colour images.
        greyscale: Probability that a colour image loses its colour.
    """

    count: int = Field(2, ge=1, le=64)
    crop_area: tuple[Area, Area] = (0.4, 1.0)
    crop_aspect: tuple[float, float] = (0.75, 4 / 3)
    flip: Share = 0.5
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    greyscale: Share = 0.0

    @model_validator(mode="after")
    def _check_ranges(self) -> "ViewsConfig":
        for name in ("crop_area", "crop_aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two positive numbers in ascending order, found {[low, high]}")
        return self


class NetworkConfig(_Section):
    """Encoder and decoder.

    Attributes:
        latent_dim: D, the size of the embedding.
        encoder: `conv` (strided convolutions, then one hidden layer) or `mlp`.
        decoder: `conv` (transposed convolutions) or `mlp`.
        width: Channels of the first convolution; each halving of the resolution doubles them, up to four times.
        hidden: Hidden layers of the `mlp` encoder; the `mlp` decoder takes `decoder_hidden`.
        decoder_hidden: Hidden layers of the `mlp` decoder, from latent to image.
    """

    latent_dim: int = Field(32, ge=1, le=4096)
    encoder: Literal["conv", "mlp"] = "conv"
    decoder: Literal["conv", "mlp"] = "conv"
    width: int = Field(16, ge=1, le=512)
    hidden: tuple[int, ...] = (2000, 500, 500)
    decoder_hidden: tuple[int, ...] = (500, 500, 2000)


def _correlation(value: object) -> object:
    if value in {"learned", "per-dimension"} or (isinstance(value, int | float) and 0 < value < 1):
        return value
    raise ValueError(f"expected a number between 0 and 1, learned or per-dimension, found {value!r}")


def _deviation(value: object) -> object:
    if value in {"learned", "optimal"} or (isinstance(value, int | float) and 0 < value < math.inf):
        return value
    raise ValueError(f"expected a positive number, learned or optimal, found {value!r}")


class ObjectiveConfig(_Section):
    """What is optimised, and its settings; a setting that the named objective does not have is refused.

    Attributes:
        name: `simvae`; the other generative ones, which treat every view alone: `vae`, `beta-vae`, and `cr-vae`,
            which adds a penalty; and the discriminative ones, which have no decoder: `simclr`, `vicreg`.
        rho: SimVAE: prior correlation of two views of one image, 0 to 1; or `learned`, one number for all latent
            dimensions; or `per-dimension`.
        flat: SimVAE: flat p(y) instead of the Gaussian one.
        posterior: SimVAE: `independent`, every view encoded alone; or `structured`, conjugate to the prior.
        likelihood: Generative: `gaussian`, or `bernoulli`, a density for binary images only.
        sigma_x: Gaussian likelihood: its standard deviation: `optimal`, the one that fits the batch best; or `learned`,
            by gradient; or a number, in pixel units of 0 to 1.
        beta: SimVAE, β-VAE, CR-VAE: weight of the KL.
        consistency: CR-VAE: weight λ of the KL between the posteriors of two views.
        temperature: SimCLR.
        invariance: VICReg: weight of its term; likewise `variance` and `covariance`.
        variance: See `invariance`.
        covariance: See `invariance`.
        projection: Discriminative: sizes of the layers between the embedding and the loss, the output's last.
    """

    name: ObjectiveName = "simvae"
    rho: Annotated[float | Literal["learned", "per-dimension"], PlainValidator(_correlation)] = 0.87
    flat: bool = False
    posterior: Literal["independent", "structured"] = "independent"
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    sigma_x: Annotated[float | Literal["learned", "optimal"], PlainValidator(_deviation)] = "optimal"
    beta: float = Field(1.0, gt=0)
    consistency: float = Field(1e-3, ge=0)
    temperature: float = Field(0.5, gt=0)
    invariance: float = Field(25.0, ge=0)
    variance: float = Field(25.0, ge=0)
    covariance: float = Field(1.0, ge=0)
    projection: tuple[Annotated[int, Field(ge=1)], ...] = (256, 128)

    @property
    def generative(self) -> bool:
        """Whether the objective bounds the likelihood of pixels, and so has a decoder."""
        return self.name not in {"simclr", "vicreg"}

    @model_validator(mode="after")
    def _check_settings(self) -> "ObjectiveConfig":
        for key in sorted(self.model_fields_set - {"name", *_SETTINGS[self.name]}):
            if getattr(self, key) != type(self).model_fields[key].default:
                owners = ", ".join(name for name, keys in _SETTINGS.items() if key in keys)
                raise ValueError(f"{self.name} has no setting {key}; it belongs to {owners}")
        if self.flat and (isinstance(self.rho, str) or self.posterior == "structured"):
            what = f"rho = {self.rho}" if isinstance(self.rho, str) else "posterior = structured"
            raise ValueError(f"a flat p(y) is no density, so nothing can be learned of it; found {what}")
        return self


class OptimiserConfig(_Section):
    """AdamW with linear warm-up and cosine decay to zero, counted in steps.

    Attributes:
        batch: Views per step, a multiple of the views per image; small sets take fewer, see `images_per_step`.
        lr: Peak learning rate.
        weight_decay: Decoupled weight decay.
        warm_up: Share of all steps with a rising rate.
        ema_decay: Decay per step of the averaged weights that evaluation and export use.
        precision: `bf16-mixed` or `32-true`; the KL is float32 in both.
    """

    batch: int = Field(512, ge=1)
    lr: float = Field(4e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    warm_up: Share = 0.05
    ema_decay: float = Field(0.999, ge=0, lt=1)
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed"


class Config(_Section):
    """One run."""

    epochs: int = Field(ge=1)
    seed: int = Field(0, ge=0, lt=2**31)
    images: ImagesConfig = ImagesConfig()
    views: ViewsConfig = ViewsConfig()
    network: NetworkConfig = NetworkConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimiser: OptimiserConfig = OptimiserConfig()

    @model_validator(mode="after")
    def _check_views(self) -> "Config":
        name = self.objective.name
        if self.views.count == 1 and (self.objective.flat or name in {"cr-vae", "simclr", "vicreg"}):
            what = "objective.flat" if self.objective.flat else f"objective.name = {name}"
            raise ValueError(f"{what} needs views.count of at least 2, found 1")
        if self.optimiser.batch % self.views.count:
            raise ValueError(
                f"optimiser.batch counts views and must be a multiple of views.count = {self.views.count}, "
                f"found {self.optimiser.batch}"
            )
        return self
