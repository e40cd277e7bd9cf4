"""Augmentations without a batched form, through albumentations itself: image by image on the CPU."""

import os
import random
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cnnbench.data.transform import Move, Paired, Shape
from cnnbench.errors import CnnbenchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cnnbench.recipe.config import Named


class PerImage:
    """Some of albumentations' transforms in a row, seeded anew for each batch."""

    def __init__(self, entries: "list[Named]") -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for news
        import albumentations

        self.names = ", ".join(entry.name for entry in entries)
        transforms = []
        for entry in entries:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", UserWarning)  # its way of rejecting an argument
                    transforms.append(getattr(albumentations, entry.name)(**entry.options))
            except (TypeError, ValueError, UserWarning) as error:
                raise CnnbenchError(f"augment {entry.name}: {error}") from error
        self.compose = albumentations.Compose(transforms)
        self.entries = entries.copy()

    def always(self) -> "PerImage":
        """The same with every transform applied, whatever its probability: to see whether each can be."""
        return PerImage([type(each)(name=each.name, **{**each.options, "p": 1.0}) for each in self.entries])

    def draw(self, shape: Shape, generator: torch.Generator) -> Move:
        seed = int(torch.randint(0, 2**31, (1,), generator=generator))
        return Paired(
            lambda images: self._apply(images, seed), lambda images, masks: self._both(images, masks, seed)
        )

    def _apply(self, images: Tensor, seed: int) -> Tensor:
        self._seed(seed)
        pictures = images.permute(0, 2, 3, 1).cpu().numpy()
        done = [self._augmented(image=picture)["image"] for picture in pictures]
        return self._batch(done, images)

    def _seed(self, seed: int) -> None:
        """One stream for all transforms: `set_random_seed` would give each of them the same numbers."""
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))

    def _augmented(self, **arrays: "NDArray[Any]") -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.compose(
                **{name: np.ascontiguousarray(array) for name, array in arrays.items()}
            )
        except Exception as error:  # of whatever kind: a transform that does not go with these images
            reason = str(error).partition("\n")[0] or type(error).__name__
            size = "×".join(map(str, arrays["image"].shape))
            raise CnnbenchError(f"augment {self.names} fails on an image of {size}: {reason}") from error
        return found

    def _both(self, images: Tensor, masks: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """albumentations knows which of its transforms move a mask, and takes the nearest pixel there."""
        self._seed(seed)
        pictures = images.permute(0, 2, 3, 1).cpu().numpy()
        done = [
            self._augmented(image=picture, mask=mask)
            for picture, mask in zip(pictures, masks[:, 0].cpu().numpy(), strict=True)
        ]
        return (
            self._batch([each["image"] for each in done], images),
            self._batch([each["mask"] for each in done], masks),
        )

    def _batch(self, pictures: "list[NDArray[Any]]", like: Tensor) -> Tensor:
        """Pictures (H, W) or (H, W, C) as (B, C, H, W) on the device of `like`."""
        arrays = [np.asarray(picture) for picture in pictures]
        done = [pixels[..., None] if pixels.ndim == 2 else pixels for pixels in arrays]
        if any(pixels.shape != done[0].shape or pixels.dtype != np.uint8 for pixels in done):
            raise CnnbenchError(
                f"augment {self.names}: images of a batch must come out alike in size and as bytes, "
                f"but came out as {sorted({f'{pixels.shape} {pixels.dtype}' for pixels in done})}"
            )
        return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2).to(like.device)
