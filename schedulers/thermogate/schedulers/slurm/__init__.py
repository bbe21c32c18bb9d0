"""Slurm obeys the gate: nodes are drained, jobs held, suspended or requeued, and all of it undone."""
