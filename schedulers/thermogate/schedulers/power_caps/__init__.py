"""Power caps: a node's pace as a power limit of its GPUs. Opt-in, runs on the node as root."""
