"""Kernels for predictions by whole networks: each does some rows or filters of a layer, a team of threads does all."""
