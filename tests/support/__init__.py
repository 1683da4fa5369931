"""What several tests need: tiny runs, the C engine as the reference, a small closed loop."""
