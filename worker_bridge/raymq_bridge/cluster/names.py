"""What names of raymq mean in Ray, and names of Ray's in raymq."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

from raymq.pickling import SHARED


def named(module: str, name: str = "") -> Any:
    """What a module of raymq, or a name in it, means on a worker: the same in ray.

    Where Ray has no such module, an empty one stands for it: cloudpickle sends along every module of a package that a
    function mentions whose name is also that of an attribute in there (``ray`` and ``options``, say).

    Raises:
        AttributeError: ray has no such name.
    """
    full = ".".join(filter(None, ("ray", module)))
    try:
        found: Any = importlib.import_module(full)
    except ModuleNotFoundError as error:
        if not f"{full}.".startswith(f"{error.name}."):
            raise  # Ray has it, but not what it needs
        found = ModuleType(full, "A module of raymq that Ray has not.")
    return functools.reduce(getattr, filter(None, name.split(".")), found)


_HOMES = {
    (kind.__module__, kind.__qualname__): where for where in SHARED if "." not in where[0] for kind in [named(*where)]
}
"""Where Ray has the shared classes of its upper modules; the others are in the modules that they are named by."""


def shared_class(value: type) -> tuple[str, str] | None:
    """Module and name, within ray, of a class that clients have, too; None for any other."""
    home = str(value.__module__), value.__qualname__
    where = _HOMES.get(home) or (home[0].removeprefix("ray."), home[1])
    return where if where in SHARED and named(*where) is value else None
