"""ControlNets and reference images: the values that name them, and their nodes in a graph."""
