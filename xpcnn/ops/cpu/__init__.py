"""Faster NumPy versions of some reference operations, on channels-last (NHWC) arrays and into given buffers."""
