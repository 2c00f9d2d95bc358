"""Throughput and latency of the service, its in-process limit and other servers, in one run."""
