"""The right to run partner nodes, which call paid services and cost credits of a Comfy account."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import SpendingError
from ..protocol.object_info import NodeRegistry
from ..storage.records import Job
from ..workflow.graph import classes

__all__ = ["require_spending"]


def require_spending(job: Job, registries: Iterable[NodeRegistry]) -> None:
    """Check that a job without the right to spend has no partner node.

    ``registries`` are those of the servers that may run it; one that names a class as a partner
    node is enough.

    Raises:
        SpendingError: it has one.
    """
    if job.may_spend:
        return
    class_types = sorted(classes(job.graph))
    for registry in registries:
        if partner_nodes := registry.partner_nodes(class_types):
            names = ", ".join(partner_nodes)
            raise SpendingError(f"This workflow costs credits, and you may not spend any: {names}.")
