"""Packages: a directory or a file of this machine as the bytes of a zip file, with a name that tells its contents."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from raymq.exceptions import RuntimeEnvSetupError
from raymq.ignoring import Patterns

PIECE = 1 << 20
"""Bytes that are read at a time."""

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time that each file has in a package: the same contents are the same package."""

LARGEST = 5
"""The largest things in a package that is too large, which its error names."""


class Package(NamedTuple):
    """What is uploaded. Ray finds it in the cluster by its URI."""

    uri: str
    data: bytes


class Entry(NamedTuple):
    """A file, or an empty directory, that goes into a package; ``name`` is its path in there."""

    name: str
    path: Path
    mode: int
    size: int


class _Ignored(NamedTuple):
    """Patterns, and the directory that they stand in: empty or with a slash at its end."""

    patterns: Patterns
    where: str

    def exclude(self, path: str) -> bool:
        return self.patterns.exclude(path.removeprefix(self.where))


def pack_directory(
    root: Path, excludes: Sequence[str], limit: int, *, ignore_files: Sequence[str], top: str
) -> Package:
    """Pack a directory.

    Symbolic links are followed; what is neither file nor directory is left out.

    Args:
        root: the directory.
        excludes: patterns of what is left out.
        limit: bytes that a package may have.
        ignore_files: the names of files that list further ones.
        top: what the paths in the package begin with.

    Raises:
        RuntimeEnvSetupError: it is too large, or something in it cannot be read.
        ValueError: so it is with a pattern.
    """
    try:
        at = root.stat()
        entries = list(_walk(root, "", [_Ignored(Patterns(excludes), "")], [(at.st_dev, at.st_ino)], ignore_files))
    except OSError as error:
        raise RuntimeEnvSetupError(f"{root} cannot be packed: {error}") from error
    return _pack(root, entries, limit, top)


def pack_module(path: Path, limit: int) -> Package:
    """Pack a single file.

    Raises:
        RuntimeEnvSetupError: it is too large, or cannot be read.
    """
    try:
        return _pack(path, [_entry(path.name, path, path.stat())], limit, "")
    except OSError as error:
        raise RuntimeEnvSetupError(f"{path} cannot be read: {error}") from error


def take_file(path: Path, limit: int) -> Package:
    """A file that is a package already: a zip file, or a wheel.

    Ray finds a wheel by the name of its file, so a new build of the same version gets another one, by its build number.

    Raises:
        RuntimeEnvSetupError: it is too large, or cannot be read.
    """
    try:
        size = path.stat().st_size
        if size >= limit:
            raise RuntimeEnvSetupError(f"{path} has {size:,} bytes; a package has less than {limit:,} in this cluster")
        data = path.read_bytes()
    except OSError as error:
        raise RuntimeEnvSetupError(f"{path} cannot be read: {error}") from error
    if path.suffix == ".whl" and path.stem.count("-") in (4, 5):
        parts = path.stem.split("-")
        return Package(f"gcs://{'-'.join([*parts[:2], f'0_{_digest(data)}', *parts[-3:]])}.whl", data)
    return Package(f"gcs://_ray_pkg_{_digest(data)}.zip", data)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:40]


# --- what goes in


def _entry(name: str, path: Path, status: os.stat_result) -> Entry:
    return Entry(name, path, status.st_mode, status.st_size)


def _walk(
    directory: Path, prefix: str, ignored: list[_Ignored], above: list[tuple[int, int]], ignore_files: Sequence[str]
) -> Iterator[Entry]:
    """The entries below a directory, by name."""
    for name in ignore_files:
        file = directory / name
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            try:
                ignored = [*ignored, _Ignored(Patterns(lines), prefix)]
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from None
    found = sorted(path.name for path in directory.iterdir())
    if not found and prefix:
        yield Entry(prefix, directory, directory.stat().st_mode, 0)
    for name in found:
        path, inside = directory / name, prefix + name
        if any(patterns.exclude(inside) for patterns in ignored):
            continue
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # a link to nothing, or it has just gone
        if stat.S_ISREG(status.st_mode):
            yield _entry(inside, path, status)
        elif stat.S_ISDIR(status.st_mode):
            itself = status.st_dev, status.st_ino
            if itself in above:
                raise OSError(f"{path} is a link to a directory that it is in: exclude it")
            yield from _walk(path, f"{inside}/", ignored, [*above, itself], ignore_files)


# --- the zip file


def _pack(root: Path, entries: list[Entry], limit: int, top: str) -> Package:
    if sum(entry.size for entry in entries) >= limit:
        raise RuntimeEnvSetupError(_too_large(root, entries, limit))
    file = io.BytesIO()
    # Not compressed, as Ray does: so the bytes depend on no library, and on the way compression is the wire's matter.
    with zipfile.ZipFile(file, "w") as archive:
        for entry in entries:
            try:
                _add(archive, entry, top)
            except (OSError, UnicodeError) as error:
                raise RuntimeEnvSetupError(f"{root} cannot be packed: {entry.path}: {error}") from error
    data = file.getvalue()
    if len(data) >= limit:
        raise RuntimeEnvSetupError(_too_large(root, entries, limit))
    return Package(f"gcs://_ray_pkg_{_digest(data)}.zip", data)


def _add(archive: zipfile.ZipFile, entry: Entry, top: str) -> None:
    info = zipfile.ZipInfo(top + entry.name, LONG_AGO)
    info.external_attr = (entry.mode & 0xFFFF) << 16
    if info.is_dir():
        archive.writestr(info, b"")
        return
    info.file_size = entry.size
    with entry.path.open("rb") as source, archive.open(info, "w") as sink:
        shutil.copyfileobj(source, sink, PIECE)


def _too_large(root: Path, entries: list[Entry], limit: int) -> str:
    sizes: Counter[str] = Counter()
    for entry in entries:
        first, slash, _ = entry.name.partition("/")
        sizes[first + slash] += entry.size
    largest = ", ".join(f"{name} ({size:,})" for name, size in sizes.most_common(LARGEST))
    return (
        f"{root} has {sum(sizes.values()):,} bytes in {len(entries):,} files, too many for a package: that has "
        f"less than {limit:,} bytes in this cluster. The largest in there: {largest}. Leave out what tasks do not need "
        'with runtime_env={"excludes": [...]}, or in a .gitignore or .rayignore; or put large data into the object '
        "store."
    )
