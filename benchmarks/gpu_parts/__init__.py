"""The parts of what `benchmarks/gpu.py` measures."""
