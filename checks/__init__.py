"""Long checks of correctness: contract, fuzz, identity, swaps."""
