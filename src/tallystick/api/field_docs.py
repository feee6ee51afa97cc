"""What the sources say of each field: the string that stands below it."""

import ast
import inspect
import textwrap

from msgspec import Struct


def field_docs(kind: type[Struct]) -> dict[str, str]:
    """The descriptions of a struct's fields, by name, the inherited ones too; fields without one are left out."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, Struct) and base is not Struct:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(tree, ast.ClassDef)
            for field, below in zip(tree.body, tree.body[1:], strict=False):
                text = ast.get_docstring(ast.Module([below], [])) if isinstance(below, ast.Expr) else None
                if text and isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    found[field.target.id] = text
    return found
