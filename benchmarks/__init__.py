"""How fast the stores of Jam are, beside the floors and beside others; see README.md."""
