"""A folder of images as one array; what is left out is counted, and what cannot be read is refused."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from refdiff.training import files, memory
from refdiff.training.errors import DataError

Array: TypeAlias = npt.NDArray[Any]

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})


@final
@dataclass(frozen=True, slots=True)
class Listing:
    """Files below a folder."""

    images: list[Path]
    """Images, sorted by path."""
    others: Counter[str]
    """Number of files that are left out, by their ending; hidden files, such as those of file managers, as 'hidden'."""

    def left_out(self) -> str:
        """Return what is left out, such as '3 files left out: 2 .txt, 1 hidden'; empty for nothing."""
        count = self.others.total()
        kinds = ", ".join(f"{number} {kind}" for kind, number in self.others.most_common(5))
        return f"{count} {'file' if count == 1 else 'files'} left out: {kinds}" if count else ""


def listing(path: Path) -> Listing:
    """Return the files below a folder. Raises DataError for a folder within it that cannot be read."""

    def refuse(error: OSError) -> None:
        name = os.fsdecode(error.filename) if error.filename else path
        raise DataError(f"expected a readable folder of images, got {name}: {error.strerror} (TRN-8)") from None

    images, others = [], Counter[str]()
    for folder, folders, names in os.walk(path, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(folder, name)
            if name.startswith("."):
                others["hidden"] += 1
            elif file.suffix.lower() in IMAGES:
                images.append(file)
            else:
                others[file.suffix or "without ending"] += 1
    return Listing(sorted(images), others)


def read(path: Path, size: int | None) -> Array:
    """Return the images of a folder, (n, channels, height, width). Raises DataError for one that cannot be read."""
    found = listing(path).images
    if not found:
        raise DataError(f"expected images in a folder, got none in {path} ({', '.join(sorted(IMAGES))}) (TRN-8)")
    pictures = list[Array]()
    for file in found:
        pictures.append(_picture(file, size))
        if len(pictures) == 1:
            what = f"{len(found):,} images such as {file}: set --preprocess.size"
            memory.need(2 * len(found) * pictures[0].nbytes, what, kind=DataError)
    shapes = {picture.shape[:2] for picture in pictures}
    if len(shapes) > 1:
        some = ", ".join(map(str, sorted(shapes)[:3]))
        raise DataError(f"expected images of one size, got {some} in {path}; set --preprocess.size (TRN-8)")
    kinds = max(picture.shape[2] for picture in pictures)  # grey images among coloured ones become RGB
    pictures = [picture if picture.shape[2] == kinds else picture.repeat(kinds, axis=2) for picture in pictures]
    return np.moveaxis(np.stack(pictures), -1, 1)


def _picture(file: Path, size: int | None) -> Array:
    """Return an image as bytes, (height, width, 1 or 3). Raises DataError if it cannot be read, or is vast."""
    try:
        from PIL import Image, ImageOps  # lazy import: only needed by this source
    except ModuleNotFoundError:
        raise DataError(
            "expected Pillow for a folder of images: pip install 'refdiff[train]', got none (TRN-8)"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            # A small file may declare a vast image.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with files.opened(file) as stream, Image.open(stream) as image:
                if image.mode.startswith("I;16"):
                    # `convert` would clip values above 255.
                    bytes_ = (np.asarray(image).astype(np.uint32) + 128) // 257
                    picture = Image.fromarray(bytes_.astype(np.uint8))
                elif image.mode in ("I", "F"):
                    raise DataError(
                        f"expected images of 8 or 16 bits, got {file} of Pillow's mode {image.mode} (TRN-8)"
                    )
                else:
                    picture = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
                return np.atleast_3d(np.asarray(ImageOps.fit(picture, (size, size)) if size else picture))
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow raises many types, SyntaxError among them
        raise DataError(f"expected a readable image, got {file}: {files.reason(error)} (TRN-8)") from None
