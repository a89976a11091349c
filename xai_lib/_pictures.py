"""What ``explain_dataset`` is given: images by number, each with a name and perhaps a label, checked one by
one."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, Subset

from xai_lib import _checks
from xai_lib._checks import Target

Picture = tuple[Tensor, int | None]  # an image (C, H, W), and its label if it has one


@dataclass(frozen=True, eq=False)
class Pictures:
    """A data set of ``len(ids)`` images that all have the shape and the type of the first."""

    source: Any
    ids: tuple[str, ...]
    shape: torch.Size
    dtype: torch.dtype

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Picture:
        """One image and its label.

        Raises:
            ValueError: if it is not an image like the first.
            TypeError: if it is none at all.
        """
        image, label = _picture(self.source, index)
        if image.shape != self.shape or image.dtype != self.dtype:
            raise ValueError(
                f"dataset must give images of one shape and type, {tuple(self.shape)} and {self.dtype} like "
                f"the first, got {tuple(image.shape)} and {image.dtype}; resize or crop them alike"
            )
        _checks.check_finite("image", image)
        return image, label


def check_dataset(dataset: Any, ids: Sequence | None) -> Pictures:
    """Check a data set by its first image, and name its images."""
    numbered = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if not numbered or isinstance(dataset, IterableDataset | dict | str | bytes):
        raise TypeError(
            "dataset must be a tensor of images, a pair (images, labels), or a torch Dataset with len() and "
            f"items by number, got {type(dataset).__name__}"
        )
    if isinstance(dataset, tuple | list) and len(dataset) == 2 and isinstance(dataset[0], Tensor):
        if dataset[0].dim() == 4:  # else a list of two images
            dataset = _checks.check_pair("dataset", dataset)
    if isinstance(dataset, Tensor) and dataset.dim() != 4:
        hint = "; for a single image pass dataset[None]" if dataset.dim() == 3 else ""
        raise ValueError(f"dataset must be 4-D, (n, C, H, W), got shape {tuple(dataset.shape)}{hint}")
    count = len(dataset[0]) if _is_pair(dataset) else len(dataset)
    if count == 0:
        raise ValueError("dataset must hold at least one image, got none")
    names = _check_ids(ids, dataset, count)
    image, _ = _picture(dataset, 0)
    _check_repeats(dataset, image)
    return Pictures(dataset, names, image.shape, image.dtype)


def _is_pair(dataset: Any) -> bool:
    """Whether it is (images, labels), as ``check_pair`` left it."""
    if not (isinstance(dataset, tuple) and len(dataset) == 2 and isinstance(dataset[0], Tensor)):
        return False
    return dataset[0].dim() == 4


def _picture(source: Any, index: int) -> Picture:
    if _is_pair(source):
        item: Any = (source[0][index], source[1][index])
    else:
        item = source[index]
    image, label = (item[0], item[1]) if isinstance(item, tuple | list) and len(item) >= 2 else (item, None)
    if isinstance(item, tuple | list) and len(item) == 1:
        image = item[0]
    if not isinstance(image, Tensor):
        raise TypeError(
            f"dataset must give images as tensors (C, H, W), alone or as (image, label), got "
            f"{type(image).__name__} for number {index}; for PIL images add transforms.ToTensor()"
        )
    if image.dim() != 3 or not image.is_floating_point() or image.numel() == 0:
        hint = "; divide bytes by 255" if image.dtype == torch.uint8 else ""
        raise ValueError(
            f"dataset must give floating-point images (C, H, W) in [0, 1], got {image.dtype} of shape "
            f"{tuple(image.shape)} for number {index}{hint}"
        )
    return _checks.ordinary(image), _label(label, index)


def _label(label: Any, index: int) -> int | None:
    if label is None:
        return None
    try:
        number = label.item() if hasattr(label, "item") else label
        if isinstance(number, bool) or int(number) != number or number < 0:
            raise ValueError
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"dataset must give labels as class numbers, 0 or more, got {label!r} for number {index}"
        ) from None
    return int(number)


def _check_repeats(dataset: Any, first: Tensor) -> None:
    """Check that an image asked for twice is the same: else no run could be repeated, nor resumed."""
    again, _ = _picture(dataset, 0)
    if again.shape != first.shape or not torch.equal(again, first):
        raise ValueError(
            "dataset must give the same image each time it is asked, but its number 0 has changed; "
            "leave random augmentation out"
        )


def _check_ids(ids: Sequence | None, dataset: Any, count: int) -> tuple[str, ...]:
    names = tuple(str(name) for name in (own_ids(dataset, count) if ids is None else ids))
    if len(names) != count:
        raise ValueError(f"ids must name each of {count} images, got {len(names)}")
    if len(set(names)) < count:
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))
        raise ValueError(f"ids must be different, got {twice!r} twice")
    return names


def own_ids(dataset: Any, count: int) -> Sequence:
    """The files' names where the data set knows them (``ImageFolder``, and subsets of one), else numbers."""
    if isinstance(dataset, Subset):
        whole = own_ids(dataset.dataset, len(dataset.dataset))
        return [whole[i] for i in dataset.indices]
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, list) and len(samples) == count and all(_is_file(s) for s in samples):
        root = getattr(dataset, "root", None)
        paths = [str(sample[0]) for sample in samples]
        return [os.path.relpath(p, root) if root else p for p in paths]
    return range(count)


def _is_file(sample: Any) -> bool:
    return isinstance(sample, tuple) and len(sample) == 2 and isinstance(sample[0], str | os.PathLike)


def check_targets(target: Target | str, pictures: Pictures) -> Target | str:
    """Check what class to explain: None, ``"label"``, a class, or one for each image, (n,), as a tensor."""
    if target is None:
        return None
    if isinstance(target, str):
        _checks.check_choice("target", target, ("label",))
        if pictures[0][1] is None:
            raise ValueError("target is 'label', but dataset gives images without labels")
        return target
    given = torch.as_tensor(target) if isinstance(target, list | tuple) else target
    like = torch.empty(len(pictures), 0)
    classes = _checks.check_target(given, like)
    whole = not isinstance(given, Tensor) or given.dim() == 0
    return int(classes.index[0, 0]) if whole and getattr(given, "ndim", 0) == 0 else classes.index[:, 0]
