"""Heatmaps on disk: one Parquet file for each batch, whole or not there at all, and a manifest beside them.

A map is stored as float16 after its image's map was divided by a power of two, which makes its largest value
lie between 1/2 and 1: the only loss is the rounding to eleven binary digits, and neither a gradient of 1e-9
nor a logit of 1e6 falls out of float16's range.
"""

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MANIFEST = "manifest.json"
ABOUT = b"xai_lib"  # the key of what a shard says of itself
LOSSLESS = torch.float32
PLAIN = {"index": "int64", "image_id": "string", "target": "int64", "top1": "int64", "label": "int64"}
HOW = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "write_statistics": list(PLAIN),  # of a map nobody asks for them, and they take a third of the time
}


def pyarrow() -> Any:
    """pyarrow with its Parquet part.

    Raises:
        ImportError: that says what to install.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "heatmaps of a data set are stored as Parquet, which needs pyarrow: pip install pyarrow, or "
            "pip install 'xai-lib[cluster]' for Ray as well"
        ) from error
    return pyarrow


# ------------------------------------------------------------------------------------------- float16 and back


def packed(maps: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Maps (n, H, W) as they are stored, and each one's power of two, (n,), int32."""
    if dtype == LOSSLESS:
        return maps.to(LOSSLESS), torch.zeros(len(maps), dtype=torch.int32, device=maps.device)
    exponents = torch.frexp(maps.abs().amax((1, 2)).double()).exponent  # of 0 it is 0
    scale = torch.ldexp(torch.ones_like(exponents, dtype=torch.float64), -exponents)
    return (maps.double() * scale[:, None, None]).to(dtype), exponents.int()


def unpacked(stored: Tensor, exponents: Tensor) -> Tensor:
    """Maps (n, H, W), float32, from what ``packed`` made."""
    scale = torch.ldexp(torch.ones(len(exponents), dtype=torch.float64), exponents)
    return (stored.double() * scale[:, None, None]).float()


# ----------------------------------------------------------------------------------------------------- shards


def path_of(out: Path, batch: int) -> Path:
    """Where a batch lies."""
    return out / "heatmaps" / f"batch-{batch:06d}.parquet"


def write(
    out: Path, run: str, batch: int, columns: dict[str, list], maps: dict[str, tuple[Tensor, Tensor]]
) -> int:
    """Write a batch: into a file beside its place, on the disk, then renamed. Bytes written."""
    pa = pyarrow()
    arrays, names = [pa.array(columns[name], kind) for name, kind in PLAIN.items()], list(PLAIN)
    for name, (stored, exponents) in maps.items():
        flat = stored.cpu().contiguous().numpy().reshape(-1)
        arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), stored[0].numel()))
        arrays.append(pa.array(exponents.cpu().numpy()))
        names += [f"heatmap.{name}", f"exponent.{name}"]
    shapes = {name: list(stored.shape[1:]) for name, (stored, _) in maps.items()}
    about = json.dumps({"run": run, "batch": batch, "shapes": shapes})
    table = pa.table(arrays, names).replace_schema_metadata({ABOUT: about})
    # Neighbours in a map are alike in their high bytes: apart from the low ones, these compress well.
    split = [f"heatmap.{name}.list.element" for name in maps]
    place = path_of(out, batch)
    beside = place.with_name(f"{place.name}.{uuid.uuid4().hex}.part")
    try:
        with open(beside, "wb") as file:
            pa.parquet.write_table(table, file, use_byte_stream_split=split, **HOW)
            file.flush()
            os.fsync(file.fileno())
        size = beside.stat().st_size
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)
    return size


def attempt(out: Path, batch: int) -> int:
    """Note that a worker begins with a batch; how often that has been noted."""
    with open(out / "attempts" / str(batch), "ab") as file:
        file.write(b".")
        return file.tell()


def forget_attempts(out: Path, batch: int | None = None) -> None:
    """Forget those of one batch, or of all: a worker has lived through it, or a new run begins."""
    folder = out / "attempts"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir() if batch is None else [folder / str(batch)]:
        path.unlink(missing_ok=True)


def about(path: Path) -> dict[str, Any]:
    """What a shard says of itself, with its number of ``rows``; {} where it says nothing."""
    pa = pyarrow()
    try:
        footer = pa.parquet.read_metadata(path)
        return json.loads(footer.metadata[ABOUT]) | {"rows": footer.num_rows}
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError):
        return {}


def read(path: Path, explainers: list[str]) -> tuple[dict[str, list], dict[str, Tensor]]:
    """The plain columns of a shard, and its maps, (n, H, W), float32."""
    pa = pyarrow()
    named = [c for name in explainers for c in (f"heatmap.{name}", f"exponent.{name}")]
    table = pa.parquet.ParquetFile(path).read([*PLAIN, *named])
    shapes = json.loads(table.schema.metadata[ABOUT])["shapes"]
    maps = {}
    for name in explainers:
        flat = table[f"heatmap.{name}"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        exponents = table[f"exponent.{name}"].to_numpy()
        stored = torch.from_numpy(flat.copy()).view(-1, *shapes[name])
        maps[name] = unpacked(stored, torch.from_numpy(exponents.copy()))
    plain = {name: table[name].to_pylist() for name in PLAIN}
    return plain, maps


# --------------------------------------------------------------------------------------------------- manifest


def read_manifest(out: Path) -> dict[str, Any] | None:
    """What run the folder holds, or None.

    Raises:
        ValueError: if the manifest is there and is none.
    """
    try:
        text = (out / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        manifest = json.loads(text)
        manifest["fingerprint"], manifest["images"], manifest["batch_size"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(
            f"out must be a folder of explain_dataset, but {out / MANIFEST} is damaged"
        ) from None
    return manifest


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Write it whole or not at all."""
    beside = out / f"{MANIFEST}.part"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, out / MANIFEST)


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep a second process from writing into the folder; the system lets go of it when this one ends.

    Raises:
        RuntimeError: if another process is at it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: there two processes do the work twice, and write the same
        yield
        return
    with open(out / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RuntimeError(
                f"out is {str(out)!r}, where another process is writing; wait for it, or pass another folder"
            ) from None
        yield
