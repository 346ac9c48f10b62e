"""The rule book: importing this package imports every module in it, and each registers its rules."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)
