"""The suite: is each clause true (evidence), and does a target obey it (verdict)."""
