"""What ``@remote`` makes of functions and classes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

from raymq.actors import make_actor_class
from raymq.functions import make_function
from raymq.packing import type_name

if TYPE_CHECKING:
    from raymq.session import Session


def decorate(choose: Callable[[], Session], args: Sequence[Any], options: dict[str, Any]) -> Any:
    """What ``@remote`` and ``@remote(...)`` do.

    Args:
        choose: gives the session, at the time of a call.
        args: the decorated function or class, if there were no options.
        options: the options.

    Raises:
        TypeError: it decorates neither a function nor a class, or has options that are not keywords.
        ValueError: an option is unknown.
    """
    if len(args) == 1 and not options:
        return decorated(choose, {}, args[0])
    if args or not options:
        raise TypeError("@remote decorates a function or a class; options are keywords, as in @remote(num_cpus=2)")
    return functools.partial(decorated, choose, options)


def decorated(choose: Callable[[], Session], options: dict[str, Any], target: Any) -> Any:
    """The same, once both are known."""
    if isinstance(target, type):
        return make_actor_class(target, options, choose)
    if isinstance(target, FunctionType):
        return make_function(target, options, choose)
    raise TypeError(f"@remote decorates a function or a class, not {type_name(target)}: wrap it in a function")
