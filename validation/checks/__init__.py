"""Does a target obey each clause? One file a chapter, and what asks a target for its values."""
