"""Worker processes, shutdown, background threads, memory allocator."""
