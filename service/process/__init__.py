"""Operating system processes: supervision, shutdown, background threads, memory allocator."""
