"""Kubernetes: taints and cordons of nodes, suspension of Jobs and of Kueue's Workloads, as the gate decides.

What is set carries a sign in the cluster itself (signs.py): only that is ever undone.
"""
