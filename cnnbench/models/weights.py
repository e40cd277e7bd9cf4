"""Files of pretrained weights: where they lie, and reading them so that nothing in them can run."""

import hashlib
import os
import re
import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import torch
from torch import Tensor

from cnnbench import files
from cnnbench.errors import CnnbenchError

TIMEOUT_SECONDS = 5.0  # to learn whether a server answers at all
MOST_NAMED = 3  # tensors in a message
HASHED = re.compile(r"-([0-9a-f]{8})\.\w+$")
LEARNED = (
    "weight",
    "bias",
    "running_mean",
    "running_var",
)  # how PyTorch's layers call what holds real numbers
NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class WeightsAbsentError(CnnbenchError):
    """Weights that are not on this machine: the variant is skipped, the others go on."""


@dataclass(frozen=True)
class Published:
    """Where weights are published: names the file may have, the address, Hugging Face's repository.

    Names in `hashed` end in the first eight digits of the file's SHA-256, as PyTorch calls what it publishes.
    """

    files: Sequence[str]
    url: str
    repository: str | None = None
    hashed: Sequence[str] = ()


def folders() -> list[Path]:
    """Where weights are looked for by the name of their file, in this order."""
    own = os.environ.get("CNNBENCH_WEIGHTS")
    data = Path(os.environ.get("CNNBENCH_DATA") or "data").expanduser() / "weights"
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    return [*([Path(own).expanduser()] if own else []), data, hub]


def find_file(name: str, asked_by: str) -> Path:
    """The file of `weights = "name"`: as a path, else by name in `folders`. Raises WeightsAbsentError."""
    given = Path(name).expanduser()
    places = [given] if given.is_absolute() else [given, *(folder / name for folder in folders())]
    for path in places:
        if path.is_file():
            return path
    looked = ", ".join(str(path.absolute()) for path in places)
    raise WeightsAbsentError(f"the weights of {asked_by} are missing: there is no file {looked}{_hint()}")


def find_published(published: Published, asked_by: str) -> Path:
    """The file of `pretrained = true`, downloaded where no cache has it.

    Raises WeightsAbsentError, and CnnbenchError for a file that is not what its name says.
    """
    for folder in folders():
        for name in published.files:
            if (folder / name).is_file():
                if name in published.hashed:
                    _check_digest(folder / name)
                return folder / name
    looked = [str(folder) for folder in folders()]
    if published.repository is not None:
        from huggingface_hub import constants, try_to_load_from_cache

        for name in ("model.safetensors", "pytorch_model.bin"):
            cached = try_to_load_from_cache(published.repository, name)
            if isinstance(cached, str):
                return Path(cached)
        looked.append(f"the Hugging Face cache {constants.HF_HUB_CACHE} ({published.repository})")
    try:
        return _download(published)
    except (OSError, RuntimeError, ValueError) as error:
        reason = _reason(error)
    raise WeightsAbsentError(
        f"the weights of {asked_by} are missing: none of {', '.join(published.files)} in "
        f"{', '.join(looked)}, and {published.url} cannot be downloaded ({reason}){_hint()}"
    )


def _check_digest(path: Path) -> None:
    """Raises CnnbenchError where a file is not the one by whose digest it is called."""
    if (match := HASHED.search(path.name)) is None:
        return
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CnnbenchError(f"{path} cannot be read: {error.strerror or error}") from error
    if not found.startswith(match[1]):
        raise CnnbenchError(
            f"{path} is damaged, or another file under this name: its SHA-256 begins with {found[:8]} "
            f"instead of {match[1]}; remove it, and let it be downloaded anew (to use it as it is, name it "
            "by `weights`)"
        )


def _hint() -> str:
    set_ = "" if os.environ.get("CNNBENCH_WEIGHTS") else ", which is not set"
    return f"; put the file into a folder and name that in the environment variable CNNBENCH_WEIGHTS{set_}"


def _download(published: Published) -> Path:
    """Fetches the file into the library's own cache; OSError and its kin where that fails."""
    for variable in ("CNNBENCH_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(variable, "0").lower() not in ("", "0", "false", "no", "off"):
            raise OSError(f"{variable} forbids it")
    with urlopen(Request(published.url, method="HEAD"), timeout=TIMEOUT_SECONDS):
        pass  # answers in time, so that the download below does not try again and again
    if published.repository is not None:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(published.repository, "model.safetensors"))
    target = Path(torch.hub.get_dir()) / "checkpoints" / published.files[0]
    files.make_folder(target.parent)
    prefix = target.stem.rpartition("-")[2]  # torchvision's files are named by the start of their SHA-256
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)  # torch.hub sets none, and would wait for ever
    try:
        torch.hub.download_url_to_file(published.url, str(target), prefix, progress=False)
    finally:
        socket.setdefaulttimeout(before)
    return target


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server says {error.code} {error.reason}"
    if isinstance(error, URLError):
        error = error.reason if isinstance(error.reason, Exception) else error
    if isinstance(error, TimeoutError | socket.gaierror | ConnectionError):
        return "no network" if isinstance(error, socket.gaierror) else f"no answer: {error}"
    return str(error) or type(error).__name__


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or of one that torch.save wrote, on the CPU.

    Only tensors and plain containers are read: a file that holds anything else is refused, and nothing
    in it runs.
    """
    if kind := _kind_of_no_weights(path):
        raise CnnbenchError(f"{path} {kind}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise CnnbenchError(f"{path} is no safetensors file, or cut short: {error}") from error
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles, which are refused in words of our own
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CnnbenchError(
            f"{path} is refused, and nothing in it was run: it holds more than tensors, or is no file of "
            "weights; save the model's state_dict, or use .safetensors"
        ) from error
    except Exception as error:  # whatever torch's readers of two formats make of altered bytes
        raise CnnbenchError(
            f"{path} cannot be read as weights: it is cut short or no file of them"
        ) from error
    return _state_dict(content, path)


def _kind_of_no_weights(path: Path) -> str | None:
    """What a file is that is often found in the place of weights, by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip()
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if start.startswith(b"<"):
        return "is a page of the web, not what it links to: download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file: fetch it with git lfs pull"
    return None


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by name, also where a checkpoint holds them under `state_dict` or `model`."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise CnnbenchError(f"{path} holds no state_dict: tensors by name were expected")
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise CnnbenchError(f"{path} holds no state_dict: {_some(others)} is no tensor")
    for key, value in content.items():
        if kind := _kind_without_numbers(value):
            raise CnnbenchError(
                f"{path} cannot be used: {key} is {kind}, and plain numbers are needed; save the state_dict "
                "of the whole model, neither sparse nor quantized"
            )
    return {str(key): value for key, value in content.items()}


def _kind_without_numbers(tensor: Tensor) -> str | None:
    """What a tensor is whose numbers do not stand in it one by one."""
    if tensor.is_meta:
        return "a tensor without its values (of the device meta)"
    if tensor.is_quantized:
        return "a quantized tensor"
    if tensor.layout != torch.strided or tensor.is_nested:
        return "a sparse or nested tensor"
    return None


def without_number(found: Mapping[str, Tensor]) -> str | None:
    """The name of the first learned tensor that holds NaN, or None."""
    return next((name for name in _learned(found) if found[name].isnan().any()), None)


def not_real(found: Mapping[str, Tensor]) -> str | None:
    """What a learned tensor holds in place of real numbers, or None: making those of it would change it."""
    for name in _learned(found):
        if found[name].dtype not in NUMBERS:
            return f"{name} holds {_type(found[name])}, no floating point numbers"
    return None


def _learned(found: Mapping[str, Tensor]) -> list[str]:
    return [name for name in found if name.rpartition(".")[2] in LEARNED]


def misfit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """What keeps these tensors from being the wanted ones, or None where they are."""
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    shapes = [
        f"{name} is {_shape(found[name])} instead of {_shape(wanted[name])}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    problems = [
        f"{what} {_some(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape:", shapes))
        if names
    ]
    return "; ".join(problems) or None


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + rest
