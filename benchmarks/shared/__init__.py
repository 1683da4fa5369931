"""What the benchmarks share. No file in here is a script."""
