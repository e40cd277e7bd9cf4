"""The train loop as notebooks have it: PIL images one by one through transforms, fp32, `.item()` every step.

It stands here to be measured against: written as well as that style allows, with worker processes and nothing
slowed down on purpose.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from cnnbench import catalog
from cnnbench.data.base import Dataset as Images
from cnnbench.data.transform import Shape
from cnnbench.data.transform import Transform as Augmentation
from cnnbench.recipe.config import DataConfig, Named
from cnnbench.signatures import is_file_target

Transform = Callable[[Image.Image], Any]


class PILImages(Dataset[tuple[Tensor, int]]):
    """What torchvision's data sets do: an array, each image converted and transformed when asked for."""

    def __init__(self, images: Tensor, targets: Tensor, transform: Transform) -> None:
        arrays: np.ndarray = images.permute(0, 2, 3, 1).contiguous().numpy()  # (N, H, W, C) uint8
        self.arrays = arrays.squeeze(3) if arrays.shape[3] == 1 else arrays
        self.targets: list[int] = targets.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.targets[index]


def train_transform(config: DataConfig, dataset: Images, plugins: Sequence[str] = ()) -> Transform:
    """The recipe's augmentation in torchvision's words where it has them, then what every image gets."""
    steps = augmentation(config.augment, dataset.in_shape, plugins)
    return _composed([*steps, *_last_steps(config, dataset)])


def eval_transform(config: DataConfig, dataset: Images) -> Transform:
    return _composed(_last_steps(config, dataset))


def augmentation(
    entries: Sequence[Named], in_shape: tuple[int, ...], plugins: Sequence[str] = ()
) -> list[Transform]:
    """torchvision's transforms for padding, crops and flips, else albumentations' or a plugin's own."""
    steps: list[Transform] = []
    padding = (0, 0)  # of columns and of rows, on either side
    for entry in entries:
        target = catalog.target("augmentation", entry.name, tuple(plugins))
        if is_file_target(target):
            steps.append(ByPlugin(target, entry))
            continue
        known = {each.name: each.default for each in catalog.options("augmentation", entry.name)}
        known.pop("p", None)
        # a recipe that was read spells every option out: those at their defaults ask for nothing
        options = {
            key: value for key, value in entry.options.items() if key not in known or value != known[key]
        }
        probability = options.get("p", 1.0 if entry.name in ("PadIfNeeded", "RandomCrop") else 0.5)
        plain = {"min_height", "min_width", "height", "width", "p"} >= options.keys()
        if entry.name == "PadIfNeeded" and plain and probability == 1:
            least = {**known, **options}
            rows, columns = least["min_height"] - in_shape[1], least["min_width"] - in_shape[2]
            padding = (max(columns, 0) // 2, max(rows, 0) // 2)
            steps.append(transforms.Pad(padding))
        elif entry.name == "RandomCrop" and plain and probability == 1:
            steps.append(transforms.RandomCrop((options["height"], options["width"])))
        elif entry.name == "HorizontalFlip" and plain:
            steps.append(transforms.RandomHorizontalFlip(probability))
        elif entry.name == "AlternatingFlip":  # a notebook has the flip that it stands for
            steps.append(transforms.RandomHorizontalFlip(0.5))
        elif entry.name == "VerticalFlip" and plain:
            steps.append(transforms.RandomVerticalFlip(probability))
        else:
            steps.append(ByAlbumentations(entry))
    return steps


class ByAlbumentations:
    """One of albumentations' transforms on a PIL image."""

    def __init__(self, entry: Named) -> None:
        import albumentations

        self.transform = getattr(albumentations, entry.name)(**entry.options)

    def __call__(self, image: Image.Image) -> Image.Image:
        return Image.fromarray(self.transform(image=np.asarray(image))["image"])


class ByPlugin:
    """A user's batched augmentation on a PIL image, as a batch of one."""

    def __init__(self, target: str, entry: Named) -> None:
        self.transform: Augmentation = catalog.resolve(target)(**entry.options)
        self.generator = torch.Generator()

    def __call__(self, image: Image.Image) -> Image.Image:
        pixels = np.asarray(image)
        batch = torch.from_numpy(pixels.copy()).view(1, *pixels.shape[:2], -1).permute(0, 3, 1, 2)
        self.generator.manual_seed(int(torch.randint(0, 2**31, (1,))))
        done = self.transform.draw(Shape(1, *pixels.shape[:2]), self.generator)(batch)
        return Image.fromarray(done[0].permute(1, 2, 0).squeeze(2).numpy())


def _last_steps(config: DataConfig, dataset: Images) -> list[Transform]:
    scale = [transforms.Normalize(dataset.mean, dataset.std)] if config.normalize else []
    return [transforms.ToTensor(), *scale]


def _composed(steps: Sequence[Transform]) -> Transform:
    composed: Transform = transforms.Compose(list(steps))
    return composed


def batches(
    images: PILImages, batch_size: int, *, shuffle: bool, num_workers: int, device: torch.device
) -> DataLoader[Any]:
    return DataLoader(
        images,
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
    )


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader[Any], device: torch.device
) -> Iterator[int]:
    """One epoch; yields the number of images after each step."""
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


@torch.no_grad()
def validate(model: nn.Module, loader: DataLoader[Any], device: torch.device) -> float:
    """Accuracy over a loader."""
    criterion = nn.CrossEntropyLoss()
    running_loss, correct, total = 0.0, 0, 0
    model.eval()
    for batch, labels in loader:
        inputs, targets = batch.to(device), labels.to(device)
        outputs = model(inputs)
        running_loss += criterion(outputs, targets).item()
        correct += int((outputs.argmax(1) == targets).sum().item())
        total += targets.size(0)
    return correct / total
