"""What is wrong with a runtime environment of a task or an actor, in Ray's words.

What it names is looked at elsewhere: files of this machine when they are uploaded, packages where they are installed.
"""

from __future__ import annotations

from typing import Any

_INSTALLERS: dict[str, dict[str, type]] = {
    "pip": {"pip_check": bool, "pip_version": str, "pip_install_options": list},
    "uv": {"uv_check": bool, "uv_version": str, "uv_pip_install_options": list},
}
"""What may be said to an installer, beside the packages."""

_LISTED = {
    "pip": "packages, pip_check, pip_install_options and pip_version",
    "uv": "packages, uv_check, uv_version and uv_pip_install_options",
}

_ALONE = {"container", "config", "env_vars"}


def check_environment(environment: dict[str, Any]) -> None:
    """Refuse what Ray refuses.

    Raises:
        TypeError: a field is of another type.
        ValueError: fields exclude each other, or one has parts that it cannot have.
    """
    fields = {name: value for name, value in environment.items() if value is not None}
    _check_together(fields)
    if "excludes" in fields and not _strings(fields["excludes"]):
        raise TypeError(f"runtime_env['excludes'] must be of type List[str], got {type(fields['excludes'])}")
    if "conda" in fields and not isinstance(fields["conda"], str | dict):
        raise TypeError(f"runtime_env['conda'] must be of type str or dict, got {type(fields['conda'])}.")
    for name in _INSTALLERS:
        if name in fields:
            _check_installer(name, fields[name])
    if "env_vars" in fields:
        _check_variables(fields["env_vars"])


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _check_together(fields: dict[str, Any]) -> None:
    if sum(name in fields for name in ("conda", "pip", "uv")) > 1:
        raise ValueError(
            "The 'pip' field, 'uv' field, and 'conda' field of runtime_env cannot be specified at the same time.\n"
            f"specified pip field: {fields.get('pip')}\n"
            f"specified conda field: {fields.get('conda')}\n"
            f"specified uv field: {fields.get('uv')}\n"
            "To use pip with conda, please only set the 'conda'field, and specify your pip dependencies within the "
            "conda YAML config dict: see https://conda.io/projects/conda/en/latest/user-guide/tasks/"
            "manage-environments.html#create-env-file-manually"
        )
    if fields.get("container") and fields.keys() - _ALONE:
        raise ValueError(
            "The 'container' field currently cannot be used together with other fields of runtime_env. "
            f"Specified fields: {fields.keys() - _ALONE}"
        )


def _check_installer(name: str, value: Any) -> None:
    where = f"runtime_env['{name}']"
    if isinstance(value, str) or _strings(value):
        return
    if not isinstance(value, dict):
        takes = "str or List[str]" if name == "pip" else "List[str], or dict"
        raise TypeError(f"{where} must be of type {takes}, got {type(value)}")
    if value.keys() - {"packages", *_INSTALLERS[name]}:
        raise ValueError(f"{where} can only have these fields: {_LISTED[name]}, but got: {list(value.keys())}")
    if name == "uv":
        _check_packages(where, value)
    for field, kind in _INSTALLERS[name].items():
        if kind is list and field in value:
            _check_options(f"{where}['{field}']", value[field])
        elif field in value and not isinstance(value[field], kind):
            raise TypeError(f"{where}['{field}'] must be of type {kind.__name__}, got {type(value[field])}")
    _check_packages(where, value)
    packages = value["packages"]
    if not isinstance(packages, list | str if name == "pip" else list):
        takes = "str of list" if name == "pip" else "list"
        told = f"{where}['packages'] must be of type {takes}, got: {type(packages)}"
        raise ValueError(told)  # noqa: TRY004 - Ray's choice


def _check_packages(where: str, value: dict[str, Any]) -> None:
    if "packages" not in value:
        raise ValueError(f"{where} must include field 'packages', but got {value}")


def _check_options(where: str, value: Any) -> None:
    if not isinstance(value, list):
        raise TypeError(f"{where} must be of type list[str] got {type(value)}")
    for index, option in enumerate(value):
        if not isinstance(option, str):
            raise TypeError(f"{where} must be of type list[str] got {type(option)} for {index}-th item.")


def _check_variables(variables: Any) -> None:
    wanted = "runtime_env['env_vars'] must be of type Dict[str, str], "
    if not isinstance(variables, dict):
        raise TypeError(f"{wanted}got {type(variables)}")
    for key, value in variables.items():
        if not isinstance(key, str):
            raise TypeError(f"{wanted}but the key {key} is of type {type(key)}")
        if not isinstance(value, str):
            raise TypeError(f"{wanted}but the value {value} is of type {type(value)}")
