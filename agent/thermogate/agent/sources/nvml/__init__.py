"""NVML, the library of the NVIDIA driver: the only package that knows pynvml (package nvidia-ml-py).

Every call may block for as long as the driver does; callers run them in threads that may be lost.
Facts are those of nvml.h (13.5) where nothing else is named.
"""
