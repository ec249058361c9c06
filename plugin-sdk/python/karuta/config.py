"""Reads a policy's `config` into dataclasses; an error begins with the path of the wrong key."""

import dataclasses
import json
import typing


class ConfigError(ValueError):
    """An error about the key at `path`, such as `allow[2]`; the operator sees it at that line."""

    def __init__(self, path, message):
        super().__init__(f"{path}: {message}" if path else message)


_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def read_config(into, text):
    """Reads JSON into the dataclass `into`. A key without a field is an error, and so is a missing key
    for a field without a default. A field `from_` is the key `from`. A field's type is `str`, `int`,
    `float`, `bool`, `list[T]`, `set[T]`, `dict[str, T]`, `T | None`, a dataclass, or any callable that
    takes the value and raises ValueError if it is wrong."""
    return _mapping(into, json.loads(text) or {}, "")


def _mapping(into, value, path):
    if not isinstance(value, dict):
        message = "expected a mapping" if path else "the configuration is not a mapping"
        raise ConfigError(path, message)
    types = typing.get_type_hints(into)
    fields = {field.name.rstrip("_"): field for field in dataclasses.fields(into)}
    found = {}
    for key, inner in value.items():
        where = f"{path}.{key}" if path else key
        if key not in fields:
            raise ConfigError(where, f"unknown key, expected one of {', '.join(fields)}")
        name = fields[key].name
        found[name] = _value(types[name], inner, where)
    for key, field in fields.items():
        optional = field.default, field.default_factory
        if field.name not in found and optional == (dataclasses.MISSING, dataclasses.MISSING):
            raise ConfigError(path, f"missing key `{key}`")
    return into(**found)


def _value(kind, value, path):
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if type(None) in arguments:
        [kind] = [each for each in arguments if each is not type(None)]
        return _value(kind, value, path)
    if origin in (list, set):
        if not isinstance(value, list):
            raise ConfigError(path, "expected a list")
        return origin(_value(arguments[0], each, f"{path}[{at}]") for at, each in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(path, "expected a mapping")
        return {key: _value(arguments[1], each, f"{path}.{key}") for key, each in value.items()}
    if dataclasses.is_dataclass(kind):
        return _mapping(kind, value, path)
    if kind in _NAMES:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            raise ConfigError(path, f"expected {_NAMES[kind]}")
        return value
    try:
        return kind(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(path, error) from error
