"""The train loop as notebooks have it: PIL images one by one through transforms, fp32, `.item()` every step.

It stands here to be measured against: written as well as that style allows, with worker processes and nothing
slowed down on purpose.
"""

from collections.abc import Callable, Generator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class PILImages(Dataset[tuple[Tensor, int]]):
    """What torchvision's data sets do: an array, each image converted and transformed when asked for."""

    def __init__(self, images: Tensor, targets: Tensor, transform: Callable[[Image.Image], Tensor]) -> None:
        arrays: np.ndarray = images.permute(0, 2, 3, 1).contiguous().numpy()  # (N, H, W, C) uint8
        self.arrays = arrays.squeeze(3) if arrays.shape[3] == 1 else arrays
        self.targets: list[int] = targets.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.targets[index]


def pil_transform(
    size: int, mean: tuple[float, ...], std: tuple[float, ...], *, crop_and_flip: bool
) -> Callable[[Image.Image], Tensor]:
    """The usual CIFAR-10 training transform, or only its last two steps."""
    random = (
        [transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip()] if crop_and_flip else []
    )
    composed: Callable[[Image.Image], Tensor] = transforms.Compose(
        [*random, transforms.ToTensor(), transforms.Normalize(mean, std)]
    )
    return composed


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    dataset: PILImages,
    batch_size: int,
    *,
    num_workers: int,
    device: torch.device,
) -> Generator[int]:
    """One epoch; yields the number of images after each step."""
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
    )
    criterion = nn.CrossEntropyLoss()
    running_loss, correct, total = 0.0, 0, 0
    model.train()
    for batch, labels in loader:
        inputs, targets = batch.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, targets)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        correct += (outputs.argmax(1) == targets).sum().item()
        total += targets.size(0)
        yield targets.size(0)
