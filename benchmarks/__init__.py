"""What was measured: each bench_<what>.py prints its own figures and runs as a module."""
