"""The validators, one file each."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from ..validator import Validator


@cache
def all_validators() -> dict[str, Validator]:
    """Return a dict from the id of each validator to the validator."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    modules = [import_module(f"{__name__}.{name}") for name in names]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Validator)]
    return {validator.id: validator for validator in found}
