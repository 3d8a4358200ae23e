"""Runtime environments that name files of this machine: these are uploaded, and URIs that the cluster knows named."""

from __future__ import annotations

import copy
import logging
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from raymq import archiving
from raymq.archiving import Package
from raymq.errors import PayloadTooLarge
from raymq.exceptions import RuntimeEnvSetupError
from raymq.packing import type_name
from raymq.runtime_env import is_uri

log = logging.getLogger("raymq")

ALWAYS_EXCLUDED = ".git,.venv,venv,__pycache__"
"""What a working_dir never has, unless $RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES says otherwise."""

Environment = dict[str, Any]
Request = Callable[..., Any]
"""Asks a bridge: ``Session.request`` or its like."""


def located(environment: Environment) -> Environment:
    """The same environment with the absolute paths of what is on this machine; nothing is packed or sent.

    Raises:
        TypeError: a working_dir that is no path, py_modules that are no list of paths and modules, or excludes that
            are no list of strings.
        ValueError: nothing is there, or it is of a kind that cannot be uploaded.
    """
    made = copy.copy(environment)
    excludes = environment.get("excludes") or []
    if not isinstance(excludes, list | tuple) or not all(isinstance(pattern, str) for pattern in excludes):
        raise TypeError(f"runtime_env['excludes'] must be of type List[str], got {type(excludes)}")
    if environment.get("working_dir") is not None:
        made["working_dir"] = _located(environment["working_dir"], "working_dir", (".zip",))
    modules = environment.get("py_modules")
    if modules is not None:
        if not isinstance(modules, list):
            raise TypeError(f"py_modules is a list of paths, modules and URIs, not {type_name(modules)}")
        made["py_modules"] = [_located(module, "py_modules", (".py", ".whl", ".zip")) for module in modules]
    return made


def uploaded(environment: Environment, request: Request) -> Environment:
    """The same environment with URIs in place of what is on this machine, which the cluster has then.

    Args:
        environment: a runtime environment.
        request: asks a bridge on the cluster. The packages are there as long as its session, and ten minutes more.

    Raises:
        TypeError: as ``located``.
        ValueError: as ``located``.
        RuntimeEnvSetupError: it is too large, or cannot be read.
    """
    made = located(environment)
    excludes = list(made.pop("excludes", None) or [])
    limit = request("package_limit")
    if made.get("working_dir") is not None:
        made["working_dir"] = _uploaded(made["working_dir"], [*_always_excluded(), *excludes], limit, request)
    if made.get("py_modules") is not None:
        made["py_modules"] = [
            _uploaded(module, excludes, limit, request, as_module=True) for module in made["py_modules"]
        ]
    return made


def _always_excluded() -> list[str]:
    return os.environ.get("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", ALWAYS_EXCLUDED).split(",")


def _located(value: Any, key: str, kinds: tuple[str, ...]) -> str:
    """An absolute path to what can be uploaded; a URI as it is."""
    if isinstance(value, ModuleType) and key == "py_modules":
        value = _home(value)
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{key} takes paths on this machine and URIs, not {type_name(value)}")
    if is_uri(value):
        return str(value)
    path = Path(value).absolute()
    if path.is_dir():
        return str(path)
    if not path.exists():
        raise ValueError(
            f"runtime_env {key}={str(value)!r}: there is no {path} on this machine. What the cluster has itself is "
            "named by a URI, file:///... or local:///... for instance"
        )
    if path.suffix not in kinds:
        raise ValueError(f"runtime_env {key}={str(value)!r} is neither a directory nor a {' or '.join(kinds)} file")
    if not os.access(path, os.R_OK):
        raise ValueError(f"runtime_env {key}={str(value)!r}: {path} cannot be read by this user")
    if path.suffix != ".py" and not zipfile.is_zipfile(path):
        raise ValueError(f"runtime_env {key}={str(value)!r} is no zip file, whatever its name says")
    return str(path)


def _home(module: ModuleType) -> str:
    """Where an imported module is."""
    paths = list(getattr(module, "__path__", None) or filter(None, [getattr(module, "__file__", None)]))
    if len(paths) != 1:
        raise ValueError(f"the module {module.__name__} is not in one directory or file: give the paths of its parts")
    return str(paths[0])


def _uploaded(where: str, excludes: Sequence[str], limit: int, request: Request, *, as_module: bool = False) -> str:
    """The URI of what is at a path; the cluster has it."""
    if is_uri(where):
        return where
    package = _packed(Path(where), excludes, limit, as_module=as_module)
    if not request("package", package.uri):
        log.info("uploading %s: %s bytes", where, f"{len(package.data):,}")
        try:
            request("package", package.uri, package.data)
        except PayloadTooLarge as error:
            raise RuntimeEnvSetupError(f"{where} is too large to be uploaded: {error}") from error
    return package.uri


def _packed(path: Path, excludes: Sequence[str], limit: int, *, as_module: bool) -> Package:
    if path.is_dir():
        git = [] if os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE") == "1" else [".gitignore"]
        top = f"{path.name}/" if as_module else ""
        return archiving.pack_directory(path, excludes, limit, ignore_files=[*git, ".rayignore"], top=top)
    return archiving.pack_module(path, limit) if path.suffix == ".py" else archiving.take_file(path, limit)
