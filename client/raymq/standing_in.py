"""``install_as_ray``: raymq under the name of ray, for programs that say ``import ray``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import NoReturn

from raymq.absent import reason
from raymq.errors import RayIsThere

_MODULES = (
    "", "actor", "client_builder", "exceptions", "remote_function", "runtime_context", "runtime_env", "types",
    "experimental", "experimental.internal_kv", "experimental.locations",
    "util", "util.actor_pool", "util.check_serialize", "util.debug", "util.helpers", "util.joblib", "util.metrics",
    "util.multiprocessing", "util.multiprocessing.pool", "util.placement_group", "util.queue",
    "util.scheduling_strategies", "util.state", "util.state.api", "util.state.common", "util.state.exception",
)  # fmt: skip
"""The modules of raymq that Ray has, too, by their names within both."""


def install_as_ray() -> None:
    """Make ``import ray``, ``from ray.util.queue import Queue`` and so on import raymq's modules, in this process.

    For programs that were written for Ray, on a machine that has none; call it before they are imported. ``ray`` is
    the module ``raymq`` itself then, so functions that mention it travel as ever. A module of Ray's that raymq does not
    have raises a ``ModuleNotFoundError`` that says why. Calling it again does nothing.

    Raises:
        RayIsThere: Ray is installed here, or something else is imported as ``ray``. Nothing has changed then.
    """
    ours = import_module("raymq")
    if sys.modules.get("ray") is ours:
        return
    _check_that_there_is_no_ray()
    # All at once, and not by a finder: the import system would set each as an attribute of its parent, where the
    # module placement_group would take the place of the function of that name.
    aliases = {f"ray.{name}".rstrip("."): import_module(f"raymq.{name}".rstrip(".")) for name in _MODULES}
    sys.modules.update(aliases)
    sys.meta_path.insert(0, _Refuser())


def _check_that_there_is_no_ray() -> None:
    """Raise RayIsThere if ``import ray`` would find something."""
    imported = sys.modules.get("ray")
    if imported is not None:
        _refuse(
            f"ray is imported already, from {_place(getattr(imported, '__spec__', None))}",
            "call this before anything imports it",
        )
    found = find_spec("ray") if "ray" not in sys.modules else None
    if found is not None:
        _refuse(f"ray is installed here, in {_place(found)}", "uninstall it, or write `import raymq as ray`")


def _refuse(what: str, instead: str) -> NoReturn:
    raise RayIsThere(f"raymq cannot stand in for Ray in this process: {what}; {instead}")


def _place(spec: ModuleSpec | None) -> str:
    if spec is None:
        return "an unknown place"
    return spec.origin or ", ".join(spec.submodule_search_locations or ()) or "an unknown place"


class _Refuser:
    """Finds no further module of ray's, and says why; else Python would look for it among raymq's files."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called by the import system for modules that are not there yet.

        Raises:
            ModuleNotFoundError: it is one of ray's.
        """
        package, _, name = fullname.partition(".")
        tells = reason(name)
        # "from ray import data" looks for raymq.data, since raymq is the name of the module that it finds under "ray";
        # it passes an error on unless that has the module's name.
        if package in ("ray", "raymq") and tells is not None:
            raise ModuleNotFoundError(f"ray.{name} is not there on a client. {tells}")
        if package == "ray" and name:
            message = f"No module named {fullname!r}: ray is raymq here, which has no such module"
            raise ModuleNotFoundError(message, name=fullname)
        return None
