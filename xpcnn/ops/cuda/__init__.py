"""CUDA versions of the operations: kernels as .cu text beside their Python, run by CuPy.

Every function takes CuPy arrays that are C-contiguous, float32, float64 or float16 (stored so, calculated in float32),
on the current device, and writes into `out=` where it is given; nothing waits for the device. What each computes is
said by the function of the same name in `xpcnn.ops.reference`.
"""
