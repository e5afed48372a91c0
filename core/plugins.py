"""Classes by dotted path, as cards name them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .errors import KnowledgeError


def load_class(name: str, what: str) -> type[Any]:
    """The class `module:Class`; `what` says in errors what it was wanted for.

    Raises:
        KnowledgeError: the name is not of that form, or there is no such module or class.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        raise KnowledgeError(f"{what} '{name}' is not of the form module:Class")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        package = module.replace("_", "-").replace(".", "-")
        raise KnowledgeError(f"{what} '{name}' cannot be imported: {error}", hint=f"pip install {package}") from error
    except AttributeError as error:
        raise KnowledgeError(f"{what} '{name}': {module} has no {attribute}") from error
