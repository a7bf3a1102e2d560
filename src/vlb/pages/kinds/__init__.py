"""The pages of models, a module per kind: each registers its own with `content_of`, and being here is all it takes."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
