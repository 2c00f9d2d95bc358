"""The Open Inference Protocol, version 2, over REST, for the clients of Triton and KServe."""
