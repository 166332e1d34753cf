"""What a model takes, as every bundle's manifest says it. Knows no images; `images.py` brings them there."""

import operator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["InputSpec"]


class InputSpec(BaseModel):
    """What a model takes, and the rule by which any image is brought to it (part of every bundle's manifest).

    Attributes:
        height: Pixels.
        width: Pixels.
        colour_mode: `L` for grey (one channel), `RGB` for colour (three).
        resize: `cover` scales until the target is covered and crops the centre; `contain` scales until the image
            fits and pads with the background; `stretch` ignores the aspect ratio.
        resample: The interpolation filter; all but `nearest` are antialiased.
        background: Red, green and blue, 0 to 255, under transparent pixels and beside contained images.
        scaled_jpeg: Whether a JPEG far larger than the model's input is decoded at a half, a quarter or an eighth of
            its size, the smallest that has twice the model's longer side on both axes. It is written only where it is
            true, so that what was recorded, hashed or cached before it existed stays as it was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    colour_mode: Literal["L", "RGB"]
    resize: Literal["cover", "contain", "stretch"] = "cover"
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    background: tuple[int, int, int] = (0, 0, 0)
    scaled_jpeg: bool = Field(default=False, exclude_if=operator.not_)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return len(self.colour_mode)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels: the shape of one item of the model's batch."""
        return self.height, self.width, self.channels
