"""Commands that a person runs: figures, calibration, the GPU record, benchmarks."""
