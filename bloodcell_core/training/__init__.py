"""Training: the loop, the worker process around it, and the jobs that pages and the command line start."""
